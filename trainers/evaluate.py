"""How good a trained stage is, beside simple baselines: `python -m trainers.evaluate --run RUN`."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from settings import ConfigError, command
from settings.device import device_of
from settings.output import OutputError, check_writable, faults_of
from settings.ranges import Count, NonNegative, Positive, Seed
from trainers.stages import EVALUATORS

_USED_BY = {
    "beside": ("implicit_motion.motion", "versa.audio_motion"),
    "weights": ("implicit_motion.base", "implicit_motion.motion"),
    "videos": ("implicit_motion.motion",),
    "evaluator": ("mmgt.smga", "versa.text_motion"),
    "steps": ("mmgt.smga", "implicit_motion.motion", "versa.text_motion", "versa.audio_motion"),
}
"""Options of `evaluate` that only some stages can use."""
_NOT_SETTINGS = ("splits", "evaluator", "evaluator_config", "systems", "progress")


def evaluate(
    *,
    run: str,
    data: str | None = None,
    evaluator: str | None = None,
    evaluator_config: Path | None = None,
    out: Path | None = None,
    splits: list[str] | None = None,
    seeds: list[Seed] = [0, 1, 2],
    steps: Count | None = None,
    guidance: NonNegative | None = None,
    clips: Count | None = 24,
    seconds: Positive | None = 8.0,
    batch: Count = 32,
    neighbours: Count = 2000,
    weights: dict[str, str] = {},
    videos: bool = False,
    beside: dict[str, str] = {},
    tokenizer: str | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure a trained stage on held-out clips, beside baselines, with intervals over clips (MMGT-23).

    Prints a table per split with the paper's own beside it, and writes figures.json and figures.csv. Unseen speakers
    (split test_unseen) are reported apart. Of a baseline is only said that the network beats it, or loses to it, where
    the interval of the difference on the same clips leaves out zero.

    Args:
        run: a run folder, a saved network (export/), or a hub name like owner/name.
        data: folder or URL of the shards; left out, those that the run was trained on. A run that was moved or copied
            to where these are not has to be told.
        evaluator: a trained network that others are measured by (run folder, export or hub name):
            human.pose_autoencoder for FGD and Diversity, versa.evaluator for R-precision and FID of motion; left out,
            one is trained on the same shards and kept in the output folder.
        evaluator_config: how that one is trained; left out, its tiny.yaml in configs/.
        out: output folder; left out, RUN/evaluation.
        splits: which splits are measured, each on its own; left out, test and test_unseen, and where there is neither,
            val, or (saying so) train.
        seeds: of the noise and of which speech is exchanged; figures are means over these.
        steps: denoising steps; left out, the network's own (50 unless its config says otherwise).
        guidance: weight of classifier-free guidance, 1 is none; left out, the network's own (2).
        clips: at most so many clips of a split, taken evenly; none is all.
        seconds: only the first seconds of each clip; none is all.
        batch: clips generated at once.
        neighbours: training windows that the nearest-neighbour baseline looks through.
        weights: files of pretrained networks for figures of videos: {alexnet: LPIPS, inception: FID, i3d: FVD, KVD and
            FID on I3D, arcface: CSIM, deep3d: E-FID}; figures without one are left out and named.
        videos: render and measure videos of implicit_motion.motion too, which takes time; weights ask for it as well.
        beside: other runs of the stage for the same table, such as ablations: {name: run} (implicit_motion.motion,
            versa.audio_motion).
        tokenizer: the motion tokenizer of a network of versa, where it is not where its run says (moved runs).
        device: cpu, cuda, or auto.

    Returns:
        What figures.json holds.

    Raises:
        ConfigError: no such network or data, or values that make no sense.
    """
    from datamodules.shards.index import Index, IndexFileError
    from trainers.evaluation import tables
    from trainers.evaluation.comparison import without_clips
    from trainers.evaluation.plan import Plan
    from trainers.run.exports import check_steps, find_export
    from trainers.run.model_card import update_figures

    started = time.perf_counter()
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"seeds={seeds}: give at least one, and each once")
    export = find_export(run)
    if export.stage not in EVALUATORS.names():
        raise ConfigError(
            f"{export.name} is a network of {export.stage}; evaluate can measure: {', '.join(EVALUATORS.names())}"
        )
    shards = data or export.settings.get("data", {}).get("shards")
    if not shards:
        raise ConfigError(
            f"{export.name} comes without its run's config: say which clips to measure on with data=SHARDS"
        )
    folder = Path(out) if out is not None else export.run / "evaluation" if export.run else None
    if folder is None:
        raise ConfigError(f"{export.name} comes without a run folder: say where to write with out=FOLDER")
    # Whatever cannot be used is found before the autoencoder is trained.
    try:
        Index.load(str(shards))
    except IndexFileError as error:
        if data is not None:
            raise
        raise ConfigError(
            f"{export.name} was trained on {shards}, which is not there now ({error}); the run or the shards were "
            "moved: say where they are with data=SHARDS"
        ) from None
    given = {"beside": beside, "weights": weights, "videos": videos, "evaluator": evaluator, "steps": steps}
    _check_used(export.stage, given)
    check_steps(export, steps)
    device_of(device)
    check_writable(folder)
    plan = Plan(
        shards=str(shards),
        splits=splits,
        seeds=list(seeds),
        steps=steps,
        guidance=guidance,
        clips=clips,
        seconds=seconds,
        batch=batch,
        neighbours=neighbours,
        evaluator=evaluator,
        evaluator_config=evaluator_config,
        weights=weights,
        videos=videos,
        beside=beside,
        tokenizer=tokenizer,
        device=device,
    )
    with plan.progress:
        measured = EVALUATORS.get(export.stage)(export, plan, folder)
    results = {
        "model": {"name": export.name, "stage": export.stage, "sha256": export.sha256},
        "settings": {name: value for name, value in vars(plan).items() if name not in _NOT_SETTINGS},
        **measured,
        "splits": without_clips(measured["splits"]),
        "measured_in_seconds": round(time.perf_counter() - started, 1),
    }
    tables.write(results, folder)
    if export.run is not None and folder.resolve() == (export.run / "evaluation").resolve():
        update_figures(export.folder, export.run)
    return results


def _check_used(stage: str, given: dict[str, Any]) -> None:
    """Refuse options that a stage's evaluator would not look at."""
    for name, value in given.items():
        if value and stage not in _USED_BY[name]:
            raise ConfigError(
                f"{name}={value}: means nothing to a network of {stage}; it is for {', '.join(_USED_BY[name])}"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `evaluate`; 0, or 2 with one line of explanation."""
    from datamodules.shards.index import IndexFileError

    values = command(evaluate, argv, prog="python -m trainers.evaluate")
    try:
        with faults_of(Path(values["out"] or values["run"])):
            results = evaluate(**values)
    except (ConfigError, IndexFileError, OutputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from trainers.evaluation.tables import as_text

    print(as_text(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
