"""What to change in a config that does not fit, by how much it gives."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from settings import ConfigError
from trainers.planning.inventory import Inventory, inventory
from trainers.planning.measure import Measured, build_stage, measure
from trainers.planning.memory import memory
from trainers.planning.show import size_of

Values = Mapping[str, Any]
LORA: Final = 16  # rank that is proposed


@dataclass(frozen=True)
class Change:
    """A change to the config.

    Attributes:
        words: of the command line.
        saves: bytes of GPU memory.
        total: bytes that are left.
        note: what it costs, or what has to be changed with it.
    """

    words: str
    saves: float
    total: float
    note: str


def changes(values: Values, found: Inventory, measured: Measured, ranks: int, limit: float) -> list[Change]:
    """Changes that save memory, the largest saving first.

    Args:
        values: the training config, resolved.
        found: what is trained.
        measured: a step of the config.
        ranks: number of GPUs.
        limit: bytes that there are.
    """
    return [change for change, *_ in _tried(values, found, measured, ranks, limit)]


def together(values: Values, found: Inventory, measured: Measured, ranks: int, limit: float) -> Change | None:
    """Changes that fit together where none is enough alone, as few as possible by taking the best again and again."""
    before = memory(values, found, measured, ranks).total
    words: list[str] = []
    while len(words) < 5:
        tried = _tried(values, found, measured, ranks, limit)
        if not tried:
            return None
        change, values, found, measured = tried[0]
        words.append(change.words)
        if change.total <= limit:
            return Change(" ".join(words), before - change.total, change.total, "")
    return None


def _tried(
    values: Values, found: Inventory, measured: Measured, ranks: int, limit: float
) -> list[tuple[Change, Values, Inventory, Measured]]:
    before = memory(values, found, measured, ranks).total
    result = []
    for words, note, changed, repeated in _candidates(values, found, ranks):
        try:
            step = measure(changed, changed["data"].get("batch_size") or 1) if repeated else measured
            trains = inventory(build_stage(changed["stage"])) if words.startswith("stage.") else found
        except ConfigError:
            continue  # the stage cannot do it
        total = memory(changed, trains, step, ranks).total
        if before - total > 0.005 * before:
            result.append((Change(words, before - total, total, note), changed, trains, step))
    smaller = [each for each in result if each[0].words.startswith("data.batch_size")]
    # Of the batch sizes the largest that fits, or the smallest.
    enough = next((each for each in smaller if each[0].total <= limit), smaller[-1] if smaller else None)
    result = [each for each in result if each not in smaller or each is enough]
    return sorted(result, key=lambda each: -each[0].saves)


def refusal(found: list[Change], all_of_them: Change | None, total: float, limit: float, gpu: str) -> str:
    """What to say of a config that does not fit.

    Args:
        found: changes, the largest saving first.
        all_of_them: several that fit together, where none does alone.
        total: bytes that it takes.
        limit: bytes that there are.
        gpu: whose.
    """
    lines = [
        f"it does not fit: {size_of(total)} a GPU, and {gpu} leaves {size_of(limit)}. What would help, most first:"
    ]
    for change in found:
        fits = "fits" if change.total <= limit else f"still {size_of(change.total - limit)} too much"
        note = f" ({change.note})" if change.note else ""
        lines.append(f"  {change.words}: saves {size_of(change.saves)}, {size_of(change.total)} a GPU, {fits}{note}")
    if all_of_them is not None:
        lines.append(f"  none is enough alone; together {size_of(all_of_them.total)} a GPU: {all_of_them.words}")
    elif not any(change.total <= limit for change in found):
        lines.append("  not even together: take a smaller stage, more GPUs, or GPUs with more memory")
    return "\n".join(lines)


def _candidates(values: Values, found: Inventory, ranks: int) -> Iterator[tuple[str, str, dict[str, Any], bool]]:
    """Words, a note, the changed config, and whether its step has to be measured anew."""
    strategy, trainer = values["strategy"], values["trainer"]
    name, batch = strategy["name"], int(values["data"].get("batch_size") or 1)
    others = []
    if ranks > 1 and trainer["precision"] in ("32-true", "32", "bf16-mixed", "16-mixed"):
        others = ["deepspeed_1", "deepspeed_2", "deepspeed_3"]
        others += ["fsdp"] if trainer["precision"] != "16-mixed" else []
    if ranks == 1 and name in ("auto", "ddp") and trainer["precision"] in ("32-true", "32", "bf16-mixed", "16-mixed"):
        options = {"name": "deepspeed_2", "offload": "optimizer", "config": {}}
        changed = _with(values, "strategy", options)
        yield "strategy=deepspeed_2 strategy.offload=optimizer", "steps on the CPU: slower", changed, False
    if values["stage"].get("network", {}).get("lora_rank") == 0:
        note = "trains small matrices beside weights that stay as they are"
        yield f"stage.network.lora_rank={LORA}", note, _with(values, "stage.network.lora_rank", LORA), True
    for other in others:
        if other != name:
            options = {"name": other, "offload": "none", **({} if other == "fsdp" else {"config": {}})}
            yield f"strategy={other}", "", _with(values, "strategy", options), False
    offloads = {"fsdp": ["all"], "deepspeed_3": ["optimizer", "all"]}
    for offload in offloads.get(name, ["optimizer"] if name.startswith("deepspeed") else []):
        if strategy["offload"] != offload:
            changed = _with(values, "strategy.offload", offload)
            yield f"strategy.offload={offload}", "steps on the CPU: slower", changed, False
    if not values["gradient_checkpointing"]:
        changed = _with(values, "gradient_checkpointing", True)
        yield "gradient_checkpointing=true", "computes the layers twice", changed, True
    if trainer["precision"] in ("32-true", "32"):
        yield "trainer.precision=bf16-mixed", "", _with(values, "trainer.precision", "bf16-mixed"), True
    if values["ema"]["enabled"]:
        yield "ema.enabled=false", "no averaged weights", _with(values, "ema.enabled", False), False
    smaller = batch // 2
    while smaller >= 1:
        batches = trainer["accumulate_grad_batches"] * batch // smaller
        note = f"trainer.accumulate_grad_batches={batches} keeps the step as it is"
        changed = _with(values, "data.batch_size", smaller)
        if values["data"].get("global_batch"):  # which is shared out among more batches
            changed["trainer"]["accumulate_grad_batches"] = batches
            yield f"trainer.accumulate_grad_batches={batches}", f"{smaller} windows a batch", changed, True
        else:
            yield f"data.batch_size={smaller}", note, changed, True
        smaller //= 2


def _with(values: Values, key: str, value: Any) -> dict[str, Any]:
    """A config with one dotted key changed."""
    changed = section = copy.deepcopy(dict(values))
    *way, last = key.split(".")
    for name in way:
        section = section.setdefault(name, {})
    section[last] = value
    return changed
