"""The launcher: `python -m trainers.launch mmgt --config configs/mmgt/launch.yaml preprocess.overrides.input=VIDEOS`.

It writes a folder that holds all that the jobs need, then submits the stages of a system as a chain of SLURM jobs.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from cospeech import shipped
from settings import ConfigError, build, command
from settings.output import OutputError, faults_of
from settings.schema import plain
from trainers.launching.chain import LaunchContext, Link, chain
from trainers.launching.options import PreprocessOptions, SlurmOptions
from trainers.launching.scripts import batch_script, submit_script
from trainers.launching.snapshot import take
from trainers.launching.summary import summary
from trainers.run.errors import RunStopped


def launch(
    file: Path,
    *,
    system: str,
    stages: dict[str, dict | None],
    preprocess: PreprocessOptions | None = None,
    slurm: SlurmOptions = SlurmOptions(),
    folder: Path | None = None,
    module: str = "trainers.fit",
    python: str = sys.executable,
    dry_run: bool = False,
) -> Path:
    """Submit the stages of a system as a chain of SLURM jobs, each started when the one before has ended well.

    A folder is written first that holds the resolved configs, a copy of the code and the scripts; its submit.sh submits
    the chain again after a failure. Jobs save before their time limit, are requeued and go on by themselves.

    Args:
        file: the launch file.
        system: first part of the stages' names, such as mmgt; the first word of the command line.
        stages: what to train, in order: a name of your choice to `config`, `overrides`, `after`, `slurm` and, for other
            commands than a training, `module`; in texts of `overrides`, {name} is what an earlier link gives (a run
            folder, or what a command wrote) and {preprocess} the shards; null leaves a link out.
        preprocess: videos to shards before the first stage; null for none.
        slurm: what every job asks for, where it does not say otherwise.
        folder: the launch folder; null is runs/<system>/<date-time>. Every stage has its run folder in it.
        module: the training command.
        python: the interpreter of the jobs.
        dry_run: show what would be submitted, and write nothing.

    Returns:
        The launch folder.

    Raises:
        ConfigError: a config cannot be used, or the folder is taken.
        RunStopped: SLURM does not take the jobs.
    """
    folder = (folder or Path("runs") / system / time.strftime("%Y-%m-%d_%H-%M-%S")).expanduser().absolute()
    if folder.exists():
        repeated = f"; to go on with it: bash {folder / 'submit.sh'}" if (folder / "submit.sh").is_file() else ""
        raise ConfigError(f"folder={folder}: it exists already{repeated}")
    place = LaunchContext(file=file, folder=folder, code=shipped.ROOT, python=python, cwd=Path.cwd())
    parts = (system, stages, preprocess, slurm, module)
    if dry_run:
        links = chain(*parts, place)
        print(summary(links, folder) + "\n")
        _show(links, place)
        return folder
    if shutil.which("sbatch") is None:
        raise ConfigError("there is no sbatch here; start it where SLURM is, or look at the scripts with --dry-run")
    writing = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    try:
        state = take(shipped.ROOT, writing / "code")
        # Resolved by the copy: a file that git does not know is missed now, and not by a job tomorrow.
        links = chain(*parts, replace(place, code=writing / "code"))
        _write(links, writing, place)
        values = {"system": system, "file": file, "module": module, "python": python, "stages": stages}
        values |= {"preprocess": vars(preprocess) if preprocess else None, "slurm": vars(slurm)}
        (writing / "launch.yaml").write_text(yaml.safe_dump(plain(values), sort_keys=False), encoding="utf-8")
        os.replace(writing, folder)
    finally:
        shutil.rmtree(writing, ignore_errors=True)
    print(f"launch folder: {folder}")
    print(summary(links, folder))
    print(f"code: {state.line()}", flush=True)
    if state.untracked:
        some = ", ".join(state.untracked[:5]) + (f" and {len(state.untracked) - 5} more" if state.untracked[5:] else "")
        print(f"not copied, since git does not know them (git add): {some}", file=sys.stderr, flush=True)
    if subprocess.run(["bash", str(folder / "submit.sh")]).returncode:
        raise RunStopped(f"SLURM did not take the chain; what to mend is said above. Then: bash {folder / 'submit.sh'}")
    return folder


def _write(links: list[Link], writing: Path, place: LaunchContext) -> None:
    """Configs and scripts of all links, into the folder that is going to be the launch folder."""
    for link in links:
        into = writing / link.folder.name
        (into / "logs").mkdir(parents=True)
        text = yaml.safe_dump(link.config, sort_keys=False, allow_unicode=True)
        (into / "config.yaml").write_text(text, encoding="utf-8")
        (into / link.script.name).write_text(_script(link, place), encoding="utf-8")
    (writing / "submit.sh").write_text(submit_script(links, place.folder), encoding="utf-8")


def _show(links: list[Link], place: LaunchContext) -> None:
    """Print all that would be written but the code."""
    files = {link.script: _script(link, place) for link in links}
    files[place.folder / "submit.sh"] = submit_script(links, place.folder)
    for path, text in files.items():
        print(f"##### {path}\n{text}")
    print("nothing was written or submitted (dry run)")


def _script(link: Link, place: LaunchContext) -> str:
    return batch_script(link, place.folder / "code", place.python, place.cwd)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit status: 0 submitted, 1 not taken by SLURM, 2 bad config."""
    # A flag by itself, whatever word follows it.
    words = ["dry_run=true" if word == "--dry-run" else word for word in (sys.argv[1:] if argv is None else argv)]
    system = words.pop(0) if words and not words[0].startswith("-") and "=" not in words[0] else None
    file = _launch_file(words, system)
    try:
        if (
            system is None
            and not {"-h", "--help", "--print-config"} & set(words)
            and not any("system=" in word for word in words)
        ):
            raise ConfigError(f"which system? {_systems()}")
        if file is None and system is not None:
            raise ConfigError(f"no launch file for '{system}': give one with --config; there is {_systems()}")
        values = command(
            launch,
            [*words, *([f"system={system}"] if system else [])],
            prog="python -m trainers.launch SYSTEM",
            config=str(file) if file else None,
        )
        with faults_of(Path(values["folder"] or "runs")):
            build(values, launch, file=file or Path("command line"))
    except (ConfigError, OutputError) as error:
        print(f"config error: {error}", file=sys.stderr)
        return 2
    except RunStopped as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    return 0


def _launch_file(words: Sequence[str], system: str | None) -> Path | None:
    """The file given with --config, else configs/<system>/launch.yaml where there is one."""
    for number, word in enumerate(words):
        if word == "--config" and number + 1 < len(words):
            return Path(words[number + 1])
        if word.startswith("--config="):
            return Path(word.partition("=")[2])
    usual = shipped.folder("configs") / (system or "") / "launch.yaml"
    if not usual.is_file():
        return None
    return usual.relative_to(Path.cwd()) if usual.is_relative_to(Path.cwd()) else usual


def _systems() -> str:
    """Systems that have a launch file."""
    found = sorted(path.parent.name for path in shipped.folder("configs").glob("*/launch.yaml"))
    return ", ".join(f"python -m trainers.launch {name}" for name in found)


if __name__ == "__main__":
    sys.exit(main())
