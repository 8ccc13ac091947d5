"""Sections of a launch file: dataclasses whose docstrings are their `--help`. Nothing heavy is imported here."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from settings import ConfigError
from settings.ranges import Count

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<rest>\d+(?::\d+){0,2})")


@dataclass(frozen=True)
class SlurmOptions:
    """What a job asks SLURM for.

    Args:
        partition: queue; null is the cluster's default.
        account: who pays.
        qos: quality of service.
        constraint: features that the nodes must have.
        time: time limit of one start, as H:MM:SS or D-HH:MM:SS; a bare number is seconds.
        signal: seconds before the time limit at which the run saves and is requeued.
        nodes: machines.
        gpus_per_node: GPUs of each, one process per GPU; 0 works on CPUs.
        tasks_per_node: processes of each machine where there are no GPUs; null is 1.
        cpus_per_task: cores of each process; loader workers share them.
        mem: memory of each machine, such as 200G; null is the cluster's default.
        interface: network interface between nodes; null is the one that leads to the first node.
        max_hangs: starts of a run that may end in a hang, or save nothing, and are requeued.
        env: environment variables of the job.
        setup: shell lines before the work, such as `module load cuda`.
        extra: further options of sbatch, such as --exclusive or --mail-type=END.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: Count | str = "24:00:00"
    signal: Annotated[int, Field(ge=1, le=65535)] = 300
    nodes: Annotated[int, Field(ge=1)] = 1
    gpus_per_node: Annotated[int, Field(ge=0)] = 1
    tasks_per_node: Annotated[int, Field(ge=1)] | None = None
    cpus_per_task: Annotated[int, Field(ge=1)] = 8
    mem: str | None = None
    interface: str | None = None
    max_hangs: Annotated[int, Field(ge=0)] = 3
    env: dict[str, str] = field(default_factory=dict)
    setup: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.gpus_per_node and self.tasks_per_node not in (None, self.gpus_per_node):
            raise ConfigError(
                f"tasks_per_node={self.tasks_per_node} with gpus_per_node={self.gpus_per_node}: it is one process per "
                "GPU; leave tasks_per_node out"
            )
        # A run that is asked to leave as soon as it has begun is requeued for ever.
        if self.seconds < 2 * self.signal:
            raise ConfigError(
                f"time={self.time} leaves no room for signal={self.signal}: a job that must save {self.signal} s "
                f"before its end needs a time limit of {2 * self.signal} s or more"
            )
        for name in self.env:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ConfigError(f"env: '{name}' cannot be the name of an environment variable")
        for line in self.extra:
            if not line.startswith("-"):
                raise ConfigError(f"extra: '{line}' is no option of sbatch; they start with - or --")

    @property
    def tasks(self) -> int:
        """Processes of each machine."""
        return self.gpus_per_node or self.tasks_per_node or 1

    @property
    def seconds(self) -> int:
        """The time limit in seconds.

        Raises:
            ConfigError: it is no time.
        """
        if isinstance(self.time, int):
            return self.time
        found = _TIME.fullmatch(self.time)
        if found is None:
            raise ConfigError(f"time={self.time}: expected H:MM:SS, D-HH:MM:SS, or a number of seconds")
        numbers = [int(part) for part in found["rest"].split(":")]
        if found["days"] is not None:
            hours, minutes, seconds = (*numbers, 0, 0)[:3]
            return ((int(found["days"]) * 24 + hours) * 60 + minutes) * 60 + seconds
        hours, minutes, seconds = (0, 0, *numbers)[-3:]
        return (hours * 60 + minutes) * 60 + seconds


@dataclass(frozen=True)
class StageOptions:
    """One link of the chain: a training, or a command between trainings.

    Args:
        module: the command; null is the training command. Another one, such as preprocessing.features or
            preprocessing.bank, is a job on one machine that writes to its `output`.
        config: config file of the command, relative to the launch file.
        overrides: config keys on top of it. In texts `{name}` is what an earlier link gives: the run folder of a
            training, the output of another command, and `{preprocess}` the shards of the preprocessing.
        after: links that must have ended well before this one starts; null is the link before it. Links that are named
            in overrides are waited for in any case.
        tasks: jobs of an array that share the work of such a command, where it can (preprocessing.negatives); 0 is a
            single job.
        at_once: how many of them may run at once; null is all.
        slurm: what differs from the launch's own `slurm`.
    """

    module: str | None = None
    config: Path | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    after: list[str] | None = None
    tasks: Annotated[int, Field(ge=0)] = 0
    at_once: Annotated[int, Field(ge=1)] | None = None
    slurm: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PreprocessOptions:
    """Preprocessing as the first link of the chain: a job array, whose last task writes the index.

    Args:
        config: config file of `python -m preprocessing.run`, relative to the launch file.
        overrides: config keys on top of it: `input` and the like. `output` is shards/ in the launch folder if not set.
        tasks: jobs of the array.
        at_once: how many of them may run at once; null is all.
        module: the command.
        slurm: what differs from the launch's own `slurm`; without a word there, no GPU is asked for.
    """

    config: Path | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    tasks: Annotated[int, Field(ge=1)] = 8
    at_once: Annotated[int, Field(ge=1)] | None = None
    module: str = "preprocessing.run"
    slurm: dict[str, Any] = field(default_factory=dict)
