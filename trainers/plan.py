"""Memory, time and scaling of a training before it is started: `python -m trainers.plan --config CONFIG --gpus 64`.

No data and no GPU are needed. Exit status 2 for a config that does not fit, or that cannot be used.
"""

import dataclasses
import json as json_format
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from settings import ConfigError, build, check, command
from settings.load import load
from settings.schema import REQUIRED, keys
from trainers.fit import fit
from trainers.options import TrainerOptions
from trainers.planning.result import TrainingPlan
from trainers.stage.batches import per_rank
from trainers.stages import DATAMODULES

PROG = "python -m trainers.plan"
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


def plan(
    training: Mapping[str, Any],
    *,
    gpus: Count = 8,
    gpu: str = "h800",
    gpus_per_node: Count = 8,
    mfu: Share | None = None,
    overlap: Annotated[float, Field(ge=0, le=1)] = 0.7,
    link: Share = 0.8,
    headroom: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    nvlink: Annotated[float, Field(gt=0)] | None = None,
    nic: Annotated[float, Field(gt=0)] | None = None,
    windows: Count | None = None,
    json: bool = False,
    out: Path | None = None,
) -> TrainingPlan:
    """Predict memory per GPU, time of a step, and how it scales. Every key of the training config is taken as well.

    Args:
        gpus: number of GPUs.
        gpu: rtx4090, a100-40, a100-80 (a100), h100, h200 or h800.
        gpus_per_node: GPUs that NVLink joins; each has a network card.
        mfu: share of the GPU's peak that computing reaches; where none, what was measured of SMGA `paper` on an H200 in
            this precision.
        overlap: share of the communication that can be hidden behind computing.
        link: share of a link's bandwidth that collectives reach.
        headroom: share of the GPU's memory that CUDA, NCCL and the allocator's gaps take.
        nvlink: GB/s that leave a GPU for others of its node; the data sheet's where none.
        nic: GB/s that leave a node for each of its GPUs; those of the usual server where none.
        windows: windows of an epoch, from which a training told in epochs gets its length.
        json: print JSON in place of tables.
        out: file to write the JSON to as well.

    Returns:
        The plan; whether it fits is in it.

    Raises:
        ConfigError: a config that cannot be used, or a GPU that is not known.
    """
    from trainers.planning.advice import changes, refusal, together
    from trainers.planning.gpus import gpu as find_gpu
    from trainers.planning.inventory import inventory
    from trainers.planning.length import advice, batches_of, hours
    from trainers.planning.measure import build_stage, measure
    from trainers.planning.memory import memory
    from trainers.planning.time import Assumptions, measured_mfu, sizes, step_time

    values = dict(training)
    if values["strategy"]["name"] == "auto" and gpus > 1:
        values["strategy"] = {"name": "ddp"}
    card = find_gpu(gpu)
    given = {"nvlink": nvlink, "nic": nic}
    speeds: dict[str, Any] = {name: 1e9 * value for name, value in given.items() if value is not None}
    card = dataclasses.replace(card, **speeds)
    accumulate = values["trainer"]["accumulate_grad_batches"]
    batch_size = per_rank(values["data"], gpus, accumulate)
    values["data"] = {**values["data"], "batch_size": batch_size}
    stage = _stage(build_stage, values)
    _check_strategy(values, stage)
    found = inventory(stage)
    measured = measure(values, batch_size)
    share = measured_mfu(values["trainer"]["precision"]) if mfu is None else mfu
    assumed = Assumptions(share, overlap, link, gpus_per_node)
    scaling = []
    shared = values["data"].get("global_batch")
    for number in sizes(gpus, gpus_per_node):
        if shared and shared % (number * accumulate):
            continue
        # A global batch stays the same: more GPUs have smaller parts of it.
        own = shared // (number * accumulate) if shared else batch_size
        part = {**values, "data": {**values["data"], "batch_size": own}}
        step = step_time(part, found, measured.operations * own // batch_size, card, number, assumed)
        row = dataclasses.asdict(step) | {"seconds": step.seconds, "efficiency": step.efficiency}
        row["samples_per_second"] = step.samples / step.seconds
        held_there = memory(part, found, measure(part, own) if own != batch_size else measured, number)
        scaling.append(row | {"memory": held_there.total})
    held = memory(values, found, measured, gpus)
    limit = card.memory * (1 - headroom)
    fits = held.total <= limit
    better = [] if fits else changes(values, found, measured, gpus, limit)
    alone = any(change.total <= limit for change in better)
    combined = None if fits or alone else together(values, found, measured, gpus, limit)
    batches = batches_of(values, stage, windows, gpus)
    now = step_time(values, found, measured.operations, card, gpus, assumed)
    precision = values["trainer"]["precision"]
    half = {**values, "trainer": {**values["trainer"], "precision": "bf16-mixed"}}
    faster = step_time(half, found, measured.operations, card, gpus, assumed)
    full = precision in ("32-true", "32")
    return TrainingPlan(
        stage=values["stage"]["name"],
        strategy=values["strategy"]["name"],
        precision=values["trainer"]["precision"],
        batch_size=batch_size,
        gpu=card.name,
        gpus=gpus,
        source=card.source,
        parameters=found.count,
        memory=held.gpu,
        host=held.host,
        total=held.total,
        limit=limit,
        fits=fits,
        operations=measured.operations,
        measured=measured.how,
        assumed=dataclasses.asdict(assumed) | {"nvlink": card.nvlink / 1e9, "nic": card.nic / 1e9},
        scaling=scaling,
        training=hours(batches, now, faster if full else None),
        advice=advice(now, faster, stage) if full else [],
        changes=[dataclasses.asdict(change) for change in better],
        said="" if fits else refusal(better, combined, held.total, limit, card.name),
    )


def _stage(build_stage: Any, values: Mapping[str, Any]) -> Any:
    """The stage on the meta device; on the CPU where its constructor looks at numbers."""
    try:
        return build_stage(values["stage"], "meta", values["trainer"]["precision"])
    except (NotImplementedError, RuntimeError):
        return build_stage(values["stage"], "cpu", values["trainer"]["precision"])


def _check_strategy(values: Mapping[str, Any], stage: Any) -> None:
    """What the strategy cannot do and the stage does not log, as the training command would say it."""
    from trainers.engines.strategies import STRATEGIES, check
    from trainers.stage.base import check_monitor

    name = values["strategy"]["name"]
    if not name.startswith("deepspeed") or find_spec("deepspeed"):
        STRATEGIES.build(dict(values["strategy"]))
    trainer = dataclasses.replace(build(values["trainer"], TrainerOptions), accelerator="gpu")
    check(values["strategy"], trainer, stage, values["compile"]["enabled"])
    check_monitor(values["checkpoint"]["monitor"], stage)
    if values["gradient_checkpointing"]:
        stage.enable_gradient_checkpointing()


def training_config(path: str | None, overrides: Sequence[str]) -> dict[str, Any]:
    """A training config, resolved; shards may be missing. Raises ConfigError."""
    values, origins = load(path, overrides, fit)
    data = values.get("data", "clips")
    data = {"name": data} if isinstance(data, str) else dict(data)
    data.setdefault("name", "clips")
    if data["name"] in DATAMODULES.names():
        known = keys(DATAMODULES.get(data["name"]))
        if "shards" in known and known["shards"].default is REQUIRED:
            data.setdefault("shards", "")
    return check(values | {"data": data}, fit, str(path or "command line"), origins)


def split(words: Sequence[str]) -> tuple[list[str], list[str], str | None]:
    """Words of the command line: the plan's own as key=value, those of the training config, and the config file."""
    rest, path = list(words), None
    own: list[str] = []
    training: list[str] = []
    known = keys(plan)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help", "--print-config"):
            own.append(word)
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and not equals:
            flag = known[name].hint is bool if name in known else False
            following = bool(rest) and not rest[0].startswith("--") and (not flag or rest[0] in ("true", "false"))
            value = rest.pop(0) if following else "true"
        elif not equals:
            raise ConfigError(f"command line: expected key=value or --key value, got '{word}'")
        name = name.replace("-", "_")
        if name == "config":
            path = value
        else:
            (own if name in known else training).append(f"{name}={value}")
    return own, training, path


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit status: 0 it fits, 2 it does not, or the config cannot be used."""
    try:
        own, training, path = split(sys.argv[1:] if argv is None else argv)
        if "--print-config" in own:  # the training's keys first, then the plan's own
            with suppress(SystemExit):
                command(fit, [*training, "--print-config"], prog=PROG, config=path)
        values = command(plan, own, prog=PROG)
        result = build(values, plan, training=training_config(path, training))
        if values["out"]:
            text = json_format.dumps(dataclasses.asdict(result), indent=1)
            Path(values["out"]).write_text(text + "\n", encoding="utf-8")
    except ConfigError as error:
        print(f"config error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"config error: cannot write out={values['out']}: {error}", file=sys.stderr)
        return 2
    if values["json"]:
        print(json_format.dumps(dataclasses.asdict(result), indent=1))
    else:
        from rich.console import Console

        from trainers.planning.show import show

        show(result, Console())
    if not result.fits:
        print(result.said, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
