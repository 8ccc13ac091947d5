"""How good a trained stage is, beside simple baselines: `python -m trainers.evaluate --run RUN`."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from settings import ConfigError, build, check, command
from settings.device import device_of
from settings.output import OutputError, check_writable, faults_of
from settings.progress import Progress
from trainers.evaluation.options import GIVEN, EvaluateOptions
from trainers.record import Tool, keys_asked, keys_of, load_tool, tool_of
from trainers.stages import EVALUATORS

_NOT_SETTINGS: Final = ("splits", "evaluator", "evaluator_config", "systems", "progress")

CAN: Final = "evaluate can measure"


def evaluate(*, run: str, data: str | None = None, out: Path | None = None, **options: Any) -> dict[str, Any]:
    """Measure a trained stage on held-out clips, beside baselines, with intervals over clips (MMGT-23).

    Prints a table per split with the paper's own beside it, and writes figures.json and figures.csv. Unseen speakers
    (split test_unseen) are reported apart. Of a baseline is only said that the network beats it, or loses to it, where
    the interval of the difference on the same clips leaves out zero. Further options are those of the run's stage:
    `--run RUN --help` shows them.

    Args:
        run: a run folder, a saved network (export/), or a hub name like owner/name.
        data: folder or URL of the shards; left out, those that the run was trained on. A run that was moved or copied
            to where these are not has to be told.
        out: output folder; left out, RUN/evaluation.
        options: those of the network's stage, in `trainers/<system>/system.py`.

    Returns:
        What figures.json holds.

    Raises:
        ConfigError: no such network or data, or values that make no sense.
    """
    from datamodules.shards.index import Index, IndexFileError
    from trainers.evaluation import tables
    from trainers.evaluation.comparison import without_clips
    from trainers.run.exports import check_steps, find_export
    from trainers.run.model_card import update_figures

    started = time.perf_counter()
    export = find_export(run)
    tool = tool_of(EVALUATORS, export.stage, export.name, CAN)
    check({**options, "run": run}, keys_of(evaluate, EVALUATORS, export.stage, GIVEN))
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
    asked = read_options(tool, options, shards=str(shards))
    check_steps(export, options.get("steps"))
    device_of(asked.device)
    check_writable(folder)
    with asked.progress:
        measured = load_tool(tool)(export, asked, folder)
    results = {
        "model": export.about,
        "settings": {name: value for name, value in vars(asked).items() if name not in _NOT_SETTINGS},
        **measured,
        "splits": without_clips(measured["splits"]),
        "measured_in_seconds": round(time.perf_counter() - started, 1),
    }
    tables.write(results, folder)
    if export.run is not None and folder.resolve() == (export.run / "evaluation").resolve():
        update_figures(export.folder, export.run)
    return results


def read_options(tool: Tool, options: dict[str, Any], **given: Any) -> EvaluateOptions:
    """The options of a stage's evaluator.

    Args:
        tool: the evaluator.
        options: as the command was given them.
        given: fields that the command gives (`trainers.evaluation.options.GIVEN`).

    Raises:
        ConfigError: values that make no sense.
    """
    empty = {"systems": None, "progress": Progress("measuring")}
    asked: EvaluateOptions = build(options, tool.options, **{**empty, **given})
    if not asked.seeds or len(set(asked.seeds)) != len(asked.seeds):
        raise ConfigError(f"seeds={asked.seeds}: give at least one, and each once")
    return asked


OPTIONS: Final = keys_of(evaluate, EVALUATORS, given=GIVEN)
"""The keys of all stages together."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `evaluate`; 0, or 2 with one line of explanation."""
    from datamodules.shards.index import IndexFileError

    try:
        target = keys_asked(argv, OPTIONS, evaluate, EVALUATORS, GIVEN)
        values = command(target, argv, prog="python -m trainers.evaluate")
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
