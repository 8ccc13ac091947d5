"""The links of a chain, each with its config resolved by the very command and code that will run it."""

import contextlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from cospeech import shipped
from settings import ConfigError, build
from settings.registry import nearest
from trainers.launching.options import PreprocessOptions, SlurmOptions, StageOptions
from trainers.stage.batches import per_rank

PREPROCESS: Final = "preprocess"
_TAKEN: Final = ("code", "shards", PREPROCESS)
_REFERENCE: Final = re.compile(r"\{([\w-]+)\}")


@dataclass(frozen=True)
class LaunchContext:
    """Where a launch happens.

    Args:
        file: the launch file.
        folder: the launch folder, absolute.
        code: the code that resolves configs.
        python: the interpreter.
        cwd: what relative paths in configs are relative to.
    """

    file: Path
    folder: Path
    code: Path
    python: str
    cwd: Path


@dataclass(frozen=True)
class Link:
    """One job of the chain, or one job array.

    Args:
        name: of the link, and of its folder.
        job: name of the job.
        module: the command.
        config: the command's config, resolved.
        slurm: what it asks SLURM for.
        after: links it waits for.
        folder: for its config, script and logs; the run folder of a stage.
        gives: what `{name}` stands for in later links.
        trains: whether it is a training, which runs on all of its ranks; another command is one process.
        tasks: jobs of the array; 0 is a single job.
        at_once: how many of them may run at once; None is all.
    """

    name: str
    job: str
    module: str
    config: dict[str, Any]
    slurm: SlurmOptions
    after: list[str]
    folder: Path
    gives: str
    trains: bool = True
    tasks: int = 0
    at_once: int | None = None

    @property
    def script(self) -> Path:
        """The file for sbatch."""
        return self.folder / ("fit.sbatch" if self.trains else "preprocess.sbatch")


def chain(
    system: str,
    stages: Mapping[str, Any],
    preprocess: PreprocessOptions | None,
    slurm: SlurmOptions,
    module: str,
    place: LaunchContext,
) -> list[Link]:
    """The links in order.

    Args:
        system: the system; one stage at least must be of it.
        stages: name to `StageOptions`, as plain values.
        preprocess: the first link, if there is one.
        slurm: what every job asks for, where it does not say otherwise.
        module: the training command.
        place: where it happens.

    Returns:
        The links; every link waits for earlier ones only.

    Raises:
        ConfigError: a link cannot be started; the message names it.
    """
    if not stages:
        raise ConfigError(f"{place.file}: 'stages' is empty; name the stages to train")
    links: list[Link] = []
    if preprocess is not None:
        links.append(_preprocess_link(system, preprocess, slurm, place))
    for name, values in stages.items():
        if values is None:  # left out on the command line
            continue
        if not re.fullmatch(r"[\w-]+", name) or name in _TAKEN:
            raise ConfigError(f"{place.file}: 'stages.{name}': a name is of letters, digits, - and _, not {_TAKEN}")
        links.append(_stage_link(system, name, values, links, slurm, module, place))
    trained = [link.config["stage"]["name"] for link in links if link.trains]
    if not any(stage == system or stage.startswith(f"{system}.") for stage in trained):
        raise ConfigError(f"{place.file}: no stage of system '{system}' is among its stages ({', '.join(trained)})")
    return links


def _preprocess_link(system: str, options: PreprocessOptions, slurm: SlurmOptions, place: LaunchContext) -> Link:
    where = f"{place.file}: '{PREPROCESS}'"
    # One task works on one machine, and on CPUs unless it says otherwise.
    own = {"nodes": 1, "gpus_per_node": 0, "tasks_per_node": None} | options.slurm
    asked = _slurm(slurm, own, where)
    if asked.nodes > 1 or (asked.tasks > 1 and not asked.gpus_per_node):
        raise ConfigError(f"{where}: a task of the array is one process on one machine; raise 'tasks' instead")
    words = [f"output={json.dumps(str(place.folder / 'shards'))}", *_words(options.overrides)]
    config = _resolved(options.module, options.config, words, where, place)
    return Link(
        name=PREPROCESS,
        job=f"{system}.{PREPROCESS}",
        module=options.module,
        config=config,
        slurm=asked,
        after=[],
        folder=place.folder / PREPROCESS,
        gives=str(place.cwd / Path(config["output"]).expanduser()),
        trains=False,
        tasks=options.tasks,
        at_once=options.at_once,
    )


def _stage_link(
    system: str,
    name: str,
    values: Mapping[str, Any],
    before: list[Link],
    slurm: SlurmOptions,
    module: str,
    place: LaunchContext,
) -> Link:
    where = f"{place.file}: 'stages.{name}'"
    try:
        options: StageOptions = build(values, StageOptions)
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).removeprefix('config: ')}") from None
    if options.module is None and options.tasks:
        raise ConfigError(f"{where}: a training is one job; 'tasks' is for commands that share their work")
    if options.module is not None:
        return _command_link(system, name, options, before, slurm, place)
    asked = _slurm(slurm, options.slurm, where)
    for section, keys in {"trainer": ("devices", "num_nodes"), "": ("run", "resume")}.items():
        given = options.overrides.get(section) if section else options.overrides
        for key in keys:
            if isinstance(given, Mapping) and key in given:
                decider = "slurm.gpus_per_node and slurm.nodes" if section else "the launch folder"
                raise ConfigError(f"{where}: '{key}' is not for overrides, {decider} decides")
    overrides, after = _joined(options, before, where)
    folder = place.folder / name
    words = _words(overrides)
    words += [f"run={json.dumps(str(folder))}", f"trainer.devices={asked.tasks}", f"trainer.num_nodes={asked.nodes}"]
    config = _resolved(module, options.config, words, where, place)
    try:
        per_rank(config["data"], asked.nodes * asked.tasks, config["trainer"]["accumulate_grad_batches"])
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return Link(
        name=name,
        job=f"{system}.{name}",
        module=module,
        config=config,
        slurm=asked,
        after=after,
        folder=folder,
        gives=str(folder),
    )


def _command_link(
    system: str, name: str, options: StageOptions, before: list[Link], slurm: SlurmOptions, place: LaunchContext
) -> Link:
    """A command that is no training: features of a trained network, a bank, shards of motion."""
    where = f"{place.file}: 'stages.{name}'"
    asked = _slurm(slurm, {"nodes": 1, "tasks_per_node": None} | options.slurm, where)
    if asked.nodes > 1 or asked.tasks > 1:
        asked = _slurm(slurm, {"tasks_per_node": None} | options.slurm | {"nodes": 1, "gpus_per_node": 1}, where)
    overrides, after = _joined(options, before, where)
    folder = place.folder / name
    words = [f"output={json.dumps(str(folder / 'output'))}", *_words(overrides)]
    config = _resolved(str(options.module), options.config, words, where, place)
    if options.tasks and "task_index" not in config:
        raise ConfigError(f"{where}: {options.module} is one process, its work is not shared; leave 'tasks' out")
    return Link(
        name=name,
        job=f"{system}.{name}",
        module=str(options.module),
        config=config,
        slurm=asked,
        after=after,
        folder=folder,
        gives=str(place.cwd / Path(config["output"]).expanduser()),
        trains=False,
        tasks=options.tasks,
        at_once=options.at_once,
    )


def _joined(options: StageOptions, before: list[Link], where: str) -> tuple[dict[str, Any], list[str]]:
    """Overrides with what earlier links give, and the links that are waited for, in order."""
    known = {link.name: link.gives for link in before}
    overrides, named = _filled(options.overrides, known, where)
    after = options.after if options.after is not None else list(known)[-1:]
    for other in after:
        if other not in known:
            raise ConfigError(f"{where}: after '{other}', which is no earlier link; {nearest(other, list(known))}")
    return overrides, [link for link in known if link in {*after, *named}]


def _slurm(base: SlurmOptions, own: Mapping[str, Any], where: str) -> SlurmOptions:
    try:
        return build(vars(base) | dict(own), SlurmOptions)
    except ConfigError as error:
        raise ConfigError(f"{where}, slurm: {str(error).removeprefix('config: ')}") from None


def _words(overrides: Mapping[str, Any]) -> list[str]:
    """One word a section, so that a part's name and its options come together."""
    return [f"{key}={json.dumps(value)}" for key, value in overrides.items()]


def _filled(value: Any, known: Mapping[str, str], where: str) -> tuple[Any, set[str]]:
    """Overrides with every `{name}` replaced, and the names."""
    named: set[str] = set()

    def replace(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise ConfigError(f"{where}: '{found[0]}' is no earlier link; {nearest(found[1], list(known))}")
        named.add(found[1])
        return known[found[1]]

    def walk(part: Any) -> Any:
        if isinstance(part, str):
            return _REFERENCE.sub(replace, part)
        if isinstance(part, Mapping):
            return {key: walk(inner) for key, inner in part.items()}
        if isinstance(part, list):
            return [walk(inner) for inner in part]
        return part

    return walk(value), named


def _resolved(module: str, config: Path | None, words: list[str], where: str, place: LaunchContext) -> dict[str, Any]:
    """The config as the command itself prints it; `config` is relative to the launch file."""
    if config is not None:
        words = ["--config", str(place.file.parent / config.expanduser()), *words]
    status, out, err = _ask(module, [*words, "--print-config"], place)
    # Named as the person who launches would set it.
    key = where.rpartition(" ")[2].strip("'") + ".overrides."
    if status:
        lines = err.strip().splitlines() or [f"python -m {module} ended with status {status}"]
        message = lines[-1].removeprefix("config error: ")
        if message.startswith("command line: '"):
            message = message.replace("command line: '", f"'{key}").replace("; give ", f"; give {key}")
            raise ConfigError(f"{place.file}: {message}")
        raise ConfigError(f"{where}: {message}")
    resolved: dict[str, Any] = yaml.safe_load(out)
    for missing in _not_given(resolved):
        raise ConfigError(f"{place.file}: '{key}{missing}' is needed: give {key}{missing}=VALUE")
    return resolved


def _ask(module: str, words: list[str], place: LaunchContext) -> tuple[int, str, str]:
    """Exit status, standard output and error of a command of the code in question.

    Where that is the code that runs here (a dry run), without a process of its own, which takes seconds to start.
    """
    same = place.code == shipped.ROOT and place.python == sys.executable and place.cwd == Path.cwd()
    if same and module.partition(".")[0] in ("trainers", "preprocessing"):
        here = importlib.import_module(module)
        main = getattr(here, "main", None) or importlib.import_module(f"{module}.__main__").main
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main(words)
            except SystemExit as ended:
                status = ended.code
        return int(status or 0), out.getvalue(), err.getvalue()
    done = subprocess.run(
        [place.python, "-m", module, *words],
        cwd=place.cwd,
        env=os.environ | code_environment(place.code),
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def _not_given(config: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Dotted keys that a printed config asks for."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _not_given(value, f"{before}{name}.")
        elif value == "???":
            yield before + str(name)


def code_environment(code: Path) -> dict[str, str]:
    """Environment in which `python -m` takes the code from a folder, and nowhere else."""
    return {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}
