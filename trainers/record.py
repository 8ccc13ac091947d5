"""What a system registers: where each of its stages stands, and what animates and measures it, with their options."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from settings import ConfigError
from settings.command import value_of
from settings.registry import imported
from settings.schema import Joined, Section, keys


@dataclass(frozen=True)
class Tool:
    """What makes something of a stage's trained network.

    Attributes:
        at: "package.module:attribute"; imported when it is used.
        options: a dataclass whose fields are its keys on the command line.
        measured_by: the stage of the network that its figures are taken with; None where they need none.
    """

    at: str
    options: type
    measured_by: str | None = None


@dataclass(frozen=True)
class Record:
    """One stage.

    Attributes:
        stage: its LightningModule, "package.module:attribute".
        animator: a class, `Animator(export, fps, device).animate(options)`; None where there is nothing to be seen.
        evaluator: a function, `measure(export, options, folder)`, that gives figures, splits and the paper's own.
        streamer: a class, `Streamer(export, device).live(options)`, whose person answers while sound is still coming.
    """

    stage: str
    animator: Tool | None = None
    evaluator: Tool | None = None
    streamer: Tool | None = None


def keys_of(
    command: Callable[..., Any], tools: Mapping[str, Tool], stage: str | None = None, given: tuple[str, ...] = ()
) -> Joined:
    """The keys of a command for the network of a stage; of all stages where none is named.

    Args:
        command: function whose keyword-only parameters are keys for every stage.
        tools: by stage.
        stage: of the network that the command is for.
        given: fields of the options that the code gives: no keys.
    """
    chosen = list(tools.values()) if stage is None else [tools[stage]]
    options = [
        Section(tool.options, given=tuple(name for name in given if name in keys(tool.options))) for tool in chosen
    ]
    joined = Joined(command, *options)
    if stage is None:
        return joined
    users: dict[str, list[str]] = {}
    for name, tool in tools.items():
        for key in keys(tool.options):
            users.setdefault(key, []).append(name)
    foreign = {
        key: f"means nothing to a network of {stage}; it is for {', '.join(names)}"
        for key, names in users.items()
        if key not in keys(joined) and key not in given
    }
    return Joined(command, *options, elsewhere=foreign)


def keys_asked(
    argv: Sequence[str] | None,
    every: Joined,
    command: Callable[..., Any],
    tools: Mapping[str, Tool],
    given: tuple[str, ...] = (),
) -> Joined:
    """The keys that a command line may have: those of the stage of its `run`, where that can be told, else of all.

    Args:
        argv: the words; None takes the process's own.
        every: the keys of all stages together.
        command, tools, given: see `keys_of`.
    """
    run = value_of(argv, every, "run")
    if run is None:
        return every
    from trainers.run.exports import stage_of  # brings torch, which a command's help does without

    stage = stage_of(run)
    return keys_of(command, tools, stage, given) if stage in tools else every


def tool_of(tools: Mapping[str, Tool], stage: str, name: str, can: str) -> Tool:
    """The tool of a stage.

    Args:
        tools: by stage.
        stage: of the network.
        name: of the network, for the message.
        can: what the command does, such as "animate can use".

    Raises:
        ConfigError: the stage has none.
    """
    if stage not in tools:
        raise ConfigError(f"{name} is a network of {stage}; {can}: {', '.join(tools)}")
    return tools[stage]


def load_tool(tool: Tool) -> Any:
    """The class or function of a tool."""
    return imported(tool.at)
