"""Several runs of one kind beside each other: `python -m trainers.compare RUN RUN ... --out FOLDER`."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from settings import ConfigError, check, command
from settings.command import value_of
from settings.output import OutputError, faults_of
from trainers.evaluate import read_options
from trainers.evaluation.options import GIVEN
from trainers.record import keys_of, load_tool
from trainers.stages import EVALUATORS

NO_KEYS: Final = (*GIVEN, "beside")

KEPT: Final = "evaluators"
OF_THE_CLIPS: Final = (
    "held_pose", "mean_pose", "own_mean_pose", "nearest_audio", "mean_motion", "held", "source", "mean_frame", "mean",
    "reconstruction", "truth",
)  # fmt: skip
"""Rows that know nothing of a network: measured once, they stand beside all runs."""
_LEAST: Final = 2


def compare(
    *,
    runs: list[str],
    out: Path = Path("comparison"),
    data: str | None = None,
    evaluator: str | None = None,
    evaluator_config: Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Measure runs on the same clips with one evaluator network; writes a table and a page with curves and videos.

    Baselines that need no network, such as the held first pose, and the truth are rows of the table, too. Further
    options are those that `trainers.evaluate` takes for the runs' stage: `RUN --help` shows them.

    Writes comparison.json, comparison.csv, comparison.md and comparison.html. Figures that live in the features of an
    evaluator network (FGD, Diversity, R-precision) are of one and the same for all runs: it is copied to
    OUT/evaluators/SHA256, where the next comparison into the same folder finds it, and evaluator=OUT finds it from
    elsewhere.

    Args:
        runs: two or more run folders, saved networks or hub names, of stages that are measured alike.
        out: output folder.
        data: folder or URL of the shards; left out, those of the first run.
        evaluator: the network that all are measured by: a run folder, an export, or an earlier comparison; left out,
            the one kept in the output folder, else that of the first run's own evaluation, else one is trained.
        evaluator_config: how that one is trained; left out, its tiny.yaml in configs/.
        options: those of the runs' stage, in `trainers/<system>/system.py`.

    Returns:
        What comparison.json holds.

    Raises:
        ConfigError: runs that cannot be compared, or nothing to measure them on.
    """
    from datamodules.shards.index import Index
    from trainers.evaluation.evaluator import describe
    from trainers.evaluation.side_by_side import differences, names_of, write
    from trainers.run.exports import find_export

    if len(runs) < _LEAST:
        raise ConfigError(f"compare needs two runs or more, got {len(runs)}: python -m trainers.compare RUN RUN")
    exports = [find_export(run) for run in runs]
    labels = names_of(exports)
    first = exports[0]
    for export, label in zip(exports, labels, strict=True):
        if export.stage not in EVALUATORS:
            raise ConfigError(f"{label} is a network of {export.stage}, which nothing measures")
        if EVALUATORS[export.stage] != EVALUATORS[first.stage]:
            raise ConfigError(
                f"{labels[0]} ({first.stage}) and {label} ({export.stage}) are measured by different figures and "
                "cannot stand in one table; compare runs of one stage"
            )
    shards = data or first.settings.get("data", {}).get("shards")
    if not shards:
        raise ConfigError(f"{labels[0]} comes without its run's config: say which clips to measure on, data=SHARDS")
    Index.load(str(shards))
    out = Path(out)
    tool = EVALUATORS[first.stage]
    check({**options, "runs": runs}, keys_of(compare, EVALUATORS, first.stage, NO_KEYS))
    network = None
    if tool.measured_by is not None:
        found = _evaluator(evaluator, out, first.run, str(shards), evaluator_config, tool.measured_by)
        network = find_export(keep(found, out))
        options["evaluator"] = str(network.folder)
    elif evaluator is not None:
        raise ConfigError(f"evaluator={evaluator}: means nothing here, {first.stage} is measured without a network")
    results: dict[str, Any] = {}
    for number, (export, label) in enumerate(zip(exports, labels, strict=True), 1):
        rows = ("model", *(OF_THE_CLIPS if number == 1 else ()))
        asked = read_options(tool, options, shards=str(shards), systems=rows)
        asked.progress.what = f"measuring {label} ({number} of {len(runs)})"
        with asked.progress:
            results[label] = load_tool(tool)(export, asked, out)
    output = {
        "runs": {
            label: {"run": str(run), "stage": export.stage, "sha256": export.sha256}
            for label, run, export in zip(labels, runs, exports, strict=True)
        },
        "shards": str(shards),
        "evaluator": describe(network) if network else None,
        "settings": {
            name: getattr(asked, name)
            for name in ("seeds", "clips", "seconds", "steps", "guidance")
            if hasattr(asked, name)
        },
        "figures": results[labels[0]]["figures"],
        "splits": differences(results),
    }
    write(output, {label: export.run for label, export in zip(labels, exports, strict=True)}, out)
    return output


def keep(evaluator: Any, out: Path) -> Path:
    """Copy an evaluator network to OUT/evaluators/SHA256 (once), with the config that says what it is."""
    from trainers.run.folder import replace_folder

    folder = out / KEPT / evaluator.sha256
    if not (folder / "export").is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replace_folder(folder) as temporary:
            shutil.copytree(evaluator.folder, temporary / "export")
            # Which stage it is of stands in the config.
            (temporary / "config.yaml").write_text(f"stage: {{name: {evaluator.stage}}}\n", encoding="utf-8")
    return folder


def _evaluator(given: str | None, out: Path, run: Path | None, shards: str, config: Path | None, stage: str) -> Any:
    """The network that all runs are measured by."""
    from trainers.evaluation.evaluator import find_or_train
    from trainers.run.exports import find_export

    if given is not None:
        kept = _kept(Path(given), stage)
        return kept or find_or_train(given, out, shards, config, stage)
    kept = _kept(out, stage)
    if kept is not None:
        return kept
    own = run / "evaluation" / "evaluator" if run is not None else None
    if own is not None and (own / "export").is_dir():
        return find_export(own)
    return find_or_train(None, out / "evaluator", shards, config, stage)


def _kept(folder: Path, stage: str) -> Any:
    """The network that an earlier comparison kept; None where there is none.

    Raises:
        ConfigError: there are several, or one whose weights are not those that its name says.
    """
    from trainers.run.exports import find_export

    found = [find_export(path) for path in sorted((folder / KEPT).glob("*")) if (path / "export").is_dir()]
    found = [export for export in found if export.stage == stage]
    if len(found) > 1:
        names = ", ".join(str(folder / KEPT / export.sha256) for export in found)
        raise ConfigError(f"{folder} has kept several networks to measure by: say which with evaluator= ({names})")
    for export in found:
        if export.run is not None and export.run.name != export.sha256:
            raise ConfigError(f"{export.folder} was changed: its weights have the SHA-256 {export.sha256}; delete it")
    return found[0] if found else None


OPTIONS: Final = keys_of(compare, EVALUATORS, given=NO_KEYS)
"""The keys of all stages together."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `compare`; 0, or 2 with one line of explanation."""
    from datamodules.shards.index import IndexFileError

    try:
        runs = value_of(argv, OPTIONS, "runs", positional="runs")
        stage = None
        if isinstance(runs, list) and runs:
            from trainers.run.exports import stage_of  # brings torch, which a command's help does without

            stage = stage_of(runs[0])
        target = keys_of(compare, EVALUATORS, stage, NO_KEYS) if stage in EVALUATORS else OPTIONS
        values = command(target, argv, prog="python -m trainers.compare", positional="runs")
        with faults_of(Path(values["out"])):
            output = compare(**values)
    except (ConfigError, IndexFileError, OutputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from trainers.evaluation.side_by_side import as_markdown

    print(as_markdown(output))
    print(Path(values["out"]) / "comparison.html")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
