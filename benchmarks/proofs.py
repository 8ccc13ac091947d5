"""Run the demos and the trainings over several seeds whose figures the docs quote, and keep what they gave.

    python -m benchmarks.proofs [NAME ...] [--folder proofs] [--seeds 0 1 2] [--fit KEY=VALUE ...] [--demo ...]

Every proof is a chain of the project's own commands, with the output of each in a log beside it. What is finished is
not done again: a proof that broke off goes on with the command that it stopped at. The figures of all runs, and their
mean and standard deviation over trainings, are kept in `benchmarks/results/proof-NAME-DATE.json`. All of them take
many hours on two cores, by far the most of them those of latent video.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from benchmarks.ranks import ROOT
from trainers.tracking.metrics_csv import read_metrics


@dataclass(frozen=True)
class Options:
    """What a chain is made with: a folder, training seeds, further words for each training and for each demo."""

    folder: Path
    seeds: Sequence[int]
    fit: Sequence[str] = ()
    demo: Sequence[str] = ()


@dataclass(frozen=True)
class Step:
    """One command, `python -m` its words; `done` is there once it has gone through."""

    words: Sequence[str]
    done: Path


Chain = Callable[[Options], list[Step]]


def demo(module: str, last: str) -> Chain:
    """A demo, whole; `last` is the file that it writes last."""

    def chain(options: Options) -> list[Step]:
        output = options.folder / "run"
        return [Step([module, f"output={output}", *options.demo], output / last)]

    return chain


def smga_over_seeds(options: Options) -> list[Step]:
    """SMGA trained as `make demo` does, once a seed, measured on many more clips of speech that training never heard,
    of the same speakers and of one that it never saw."""
    shards, test = options.folder / "shards", options.folder / "test-shards"
    steps = _speakers(options.folder / "videos", shards, "clips_per_speaker=12", "size=256", *options.demo)
    steps += _speakers(options.folder / "test-videos", test, "clips_per_speaker=48", "size=128", *options.demo)
    for seed in options.seeds:
        run = options.folder / f"smga-{seed}"
        steps += _trained("mmgt/smga", run, options, f"data.shards={shards}", f"seed={seed}", "trainer.max_steps=1600")
        steps.append(_measured(run, f"data={test}"))
    return steps


def fusion_over_seeds(options: Options) -> list[Step]:
    """VersaAnimator's two ways to join text and speech (VA-6), on the networks of its demo, once a seed."""
    output = options.folder / "run"
    steps = demo("trainers.demo_versa", "generated.mp4")(options)
    for seed in options.seeds:
        for fusion in ("layer", "last"):
            run = options.folder / f"{fusion}-{seed}"
            steps += _trained(
                "versa/audio_motion", run, options, f"data.shards={output / 'shards'}",
                f"stage.tokenizer={output / 'tokenizer'}", f"stage.text_motion={output / 'text_motion'}",
                "trainer.max_steps=600", f"stage.network.fusion={fusion}", f"seed={seed}",
            )  # fmt: skip
            steps.append(_measured(run, "seeds=[0]"))
    return steps


def masks_over_seeds(options: Options) -> list[Step]:
    """MMGT's `video_audio` on the networks of its demo, once a seed: with motion masks, still ones and none (MMGT-24),
    by poses and masks that SMGA makes; with motion masks also by speech alone."""
    output = options.folder / "run"
    steps = demo("trainers.demo_video", "generated.mp4")(options)
    for seed in options.seeds:
        for masks in ("motion", "still", "none"):
            run = options.folder / f"{masks}-{seed}"
            steps += _trained(
                "mmgt/video_audio", run, options, f"data.shards={output / 'latents'}", f"seed={seed}",
                f"stage.autoencoder={output / 'autoencoder'}", f"stage.base={output / 'video_pose'}",
                f"stage.network.masks={masks}",
            )  # fmt: skip
            by = [f"data={output / 'shards'}", "clips=10", "seconds=4", f"seeds=[{seed}]", "splits=[test]"]
            smga = [f"smga={output / 'smga'}", "drive=audio", "steps=6"]
            steps.append(Step(["trainers.evaluate", f"run={run}", *by, *smga], run / "evaluation" / "figures.json"))
            if masks == "motion":
                alone = options.folder / f"speech-{seed}" / "evaluation"
                words = ["trainers.evaluate", f"run={run}", *by, "drive=speech_only", "steps=6", f"out={alone}"]
                steps.append(Step(words, alone / "figures.json"))
    return steps


def parts_over_seeds(options: Options) -> list[Step]:
    """PAHA's UniVDM on the latents of its demo, once a seed with re-weighted parts and once without (PH-21); then, of
    each seed, pairs and classifiers of every kind of negatives, and what their guidance does."""
    output = options.folder / "run"
    steps = demo("trainers.demo_paha", "guided.mp4")(options)
    known = [f"data.shards={output / 'latents'}", f"stage.autoencoder={output / 'autoencoder'}"]
    for seed in options.seeds:
        for par in ("true", "false"):
            run = options.folder / f"par-{par}-{seed}"
            steps += _trained("paha/univdm", run, options, *known, f"seed={seed}", f"stage.par={par}")
        univdm, pairs = options.folder / f"par-true-{seed}", options.folder / f"pairs-{seed}"
        make = [f"run={univdm}", f"input={output / 'latents'}", f"output={pairs}", f"seed={seed}"]
        steps.append(
            Step(
                ["preprocessing.negatives", *make, "lengths=[24]", "pairs_per_clip=3", "steps=6"],
                pairs / "index.json",
            ),
        )
        judges = {}
        for negatives in ("distilled", "mismatched", "both"):
            for region in ("face", "nonface"):
                run = options.folder / f"{region}-{negatives}-{seed}"
                own = [f"data.shards={pairs}", f"stage.univdm={univdm}", f"stage.negatives={negatives}", f"seed={seed}"]
                steps += _trained(f"paha/pce_{region}", run, options, *own)
                steps.append(_measured(run, f"data={pairs}"))
                judges[negatives, region] = run
        for negatives in ("distilled", "both"):
            guided = options.folder / f"guided-{negatives}-{seed}" / "evaluation"
            by = [f"pce_{region}={judges[negatives, region]}" for region in ("face", "nonface")]
            words = ["trainers.evaluate", f"run={univdm}", f"data={output / 'latents'}", f"seeds=[{seed}]", "clips=10"]
            words += ["seconds=2.4", "splits=[test]", *by, f"out={guided}"]
            steps.append(Step(words, guided / "figures.json"))
    return steps


def _speakers(videos: Path, shards: Path, *words: str) -> list[Step]:
    output = ["preprocessing.synthetic", f"output={videos}", "workers=2", *words]
    read = [
        "preprocessing.run", f"input={videos / 'manifest.jsonl'}", f"output={shards}", "workers=2", "pose=sidecar",
        "face=keypoints",
    ]  # fmt: skip
    return [Step(output, videos / "manifest.jsonl"), Step(read, shards / "index.json")]


def _trained(config: str, run: Path, options: Options, *words: str) -> list[Step]:
    fit = ["trainers.fit", "--config", f"configs/{config}/tiny.yaml", f"run={run}", *words, *options.fit]
    return [Step(fit, run / "export" / "model.safetensors")]


def _measured(run: Path, *words: str) -> Step:
    measure = ["trainers.evaluate", f"run={run}", "clips=null", "seconds=null", *words]
    return Step(measure, run / "evaluation" / "figures.json")


PROOFS: Final[Mapping[str, Chain]] = {
    "demo": demo("trainers.demo", "generated.mp4"),
    "demo-portrait": demo("trainers.demo_portrait", "generated.mp4"),
    "demo-video": demo("trainers.demo_video", "generated.mp4"),
    "demo-paha": demo("trainers.demo_paha", "guided.mp4"),
    "demo-versa-video": demo("trainers.demo_versa_video", "generated.mp4"),
    "smga": smga_over_seeds,
    "masks": masks_over_seeds,
    "parts": parts_over_seeds,
    "versa": fusion_over_seeds,
}


def prove(name: str, options: Options) -> dict[str, Any]:
    """Run what is not done yet of a proof.

    Returns:
        `commands` with their minutes (None for those done before), `runs` with the figures of each, and `trainings`:
        mean and standard deviation over the runs that differ in their seed alone.

    Raises:
        subprocess.CalledProcessError: a command failed; its output is in the log that was named.
    """
    commands = []
    options.folder.mkdir(parents=True, exist_ok=True)
    for number, step in enumerate(PROOFS[name](options)):
        minutes = None
        if not step.done.exists():
            log = options.folder / f"{number:02d}-{step.words[0]}.log"
            print(f"{name}: {' '.join(step.words)}  (log: {log})", flush=True)
            begun = time.monotonic()
            with log.open("w", encoding="utf-8") as file:
                subprocess.run(
                    [sys.executable, "-m", *step.words], cwd=ROOT, check=True, stdout=file, stderr=subprocess.STDOUT,
                    env=os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")},
                )  # fmt: skip
            minutes = round((time.monotonic() - begun) / 60, 1)
        commands.append({"command": " ".join(map(str, step.words)), "minutes": minutes})
    runs: dict[str, dict[str, float]] = {}
    for kind, read in (("metrics.csv", validated), ("evaluation/figures.json", figures_of)):
        for path in sorted(options.folder.glob(f"**/{kind}")):
            folder = path.parents[kind.count("/")]
            found = runs.setdefault(str(folder.relative_to(options.folder)), {})
            found |= read(path)
    return {"commands": commands, "runs": runs, "trainings": over_trainings(runs)}


def figures_of(path: Path) -> dict[str, float]:
    """The figures of a run by `split/system/figure`, those that could be taken."""
    splits = json.loads(path.read_text(encoding="utf-8"))["splits"]
    return {
        f"{split}/{system}/{name}": value["mean"]
        for split, part in splits.items()
        for system, figures in part["systems"].items()
        for name, value in figures.items()
        if value.get("mean") is not None
    }


def validated(path: Path) -> dict[str, float]:
    """The figures of a run's last validation, by their names in its `metrics.csv`."""
    found: dict[str, float] = {}
    for row in read_metrics(path):
        found |= {name: value for name, value in row.items() if name.startswith("val/")}
    return found


def over_trainings(runs: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and standard deviation of each figure over the runs `NAME-0`, `NAME-1`, ...: there are at least two."""
    groups: dict[str, list[Mapping[str, float]]] = {}
    for run, figures in runs.items():
        name, _, seed = run.rpartition("-")
        if name and seed.isdigit():
            groups.setdefault(name, []).append(figures)
    return {
        name: {
            figure: {"mean": statistics.mean(values), "std": statistics.stdev(values)}
            for figure in rows[0]
            if len(values := [row[figure] for row in rows if figure in row]) > 1
        }
        for name, rows in groups.items()
        if len(rows) > 1
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 where a proof failed."""
    parser = Parser(prog="python -m benchmarks.proofs", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PROOFS)}; all without")
    parser.add_argument("--folder", type=Path, default=Path("proofs"), help="where runs and logs are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings")
    parser.add_argument("--fit", nargs="+", default=[], metavar="KEY=VALUE", help="for every training, to try a chain")
    parser.add_argument("--demo", nargs="+", default=[], metavar="KEY=VALUE", help="for every demo and its speakers")
    given = parser.parse_args(argv)
    if unknown := [name for name in given.names if name not in PROOFS]:
        parser.error(f"no proof '{unknown[0]}'; there are {', '.join(PROOFS)}")
    failed = []
    for name in given.names or PROOFS:
        folder = (given.folder / name).resolve()
        begun = describe()
        try:
            result = prove(name, Options(folder, given.seeds, given.fit, given.demo))
        except subprocess.CalledProcessError as error:
            print(f"{name}: failed with status {error.returncode}: {' '.join(map(str, error.cmd))}", file=sys.stderr)
            failed.append(name)
            continue
        changed = {"fit": given.fit, "demo": given.demo}
        print(write_result(f"proof-{name}", {"machine": begun, "seeds": given.seeds, "changed": changed, **result}))
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
