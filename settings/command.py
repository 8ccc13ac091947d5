"""The command line that every command has: `--config FILE key=value ...`, `--help`, `--print-config`."""

import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from settings.load import load
from settings.registry import ConfigError
from settings.schema import REQUIRED, check, choice_of, keys, list_choice_of, section_of, type_name


def command(
    target: Callable[..., Any],
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    config: str | None = None,
    required_config: bool = False,
) -> dict[str, Any]:
    """Read a command line against a signature; ends the process on `--help`, `--print-config` and on a bad config.

    Options may be written `key=value`, `--key value` or `--key=value`; a dotted key reaches into a section. A key that
    holds a list of text may be given several times.

    Args:
        target: class, function or dataclass whose typed signature and docstring are the schema and the help.
        argv: the words of the command line, without the program's name.
        prog: how the command is started, for the help.
        config: file to read where none is given.
        required_config: a config file must be given.

    Returns:
        Plain nested values, all defaults filled in. A bad config is one line on standard error and exit status 2.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        path, overrides, wants = _split(words)
        path = path or config
        if "help" in wants:
            try:
                values, _ = load(path, overrides, target)
            except ConfigError:
                values = {}
            print(_help(target, values, prog, required_config))
            raise SystemExit(0)
        if path is None and required_config:
            raise ConfigError(f"which config? start it as: {prog} --config FILE [key=value ...]")
        values, origins = load(path, overrides, target)
        resolved = check(values, target, str(path or "command line"), origins)
    except ConfigError as error:
        print(f"config error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if "print-config" in wants:
        print(OmegaConf.to_yaml(OmegaConf.create(resolved)), end="")
        raise SystemExit(0)
    return resolved


def _split(words: list[str]) -> tuple[str | None, list[str], set[str]]:
    path, overrides, wants = None, [], set()
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            wants.add("help")
        elif word == "--print-config":
            wants.add("print-config")
        elif word == "--config" or word.startswith("--config="):
            path = word.partition("=")[2] or (words.pop(0) if words else None)
            if path is None:
                raise ConfigError("command line: --config needs a file")
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not equals:
                value = words.pop(0) if words and not words[0].startswith("--") else "true"
            overrides.append(f"{name.replace('-', '_')}={value}")
        else:
            overrides.append(word)
    return path, overrides, wants


def _help(target: Any, values: Mapping[str, Any], prog: str, required_config: bool) -> str:
    config = "--config FILE" if required_config else "[--config FILE]"
    intro = (target.__doc__ or "").split("Args:")[0].split("Attributes:")[0]
    lines = [
        f"usage: {prog} {config} [key=value ...] [--help] [--print-config]",
        "",
        textwrap.dedent(intro).strip(),
        "",
        "keys:",
    ]
    return "\n".join(lines + _describe(target, values, ""))


def _describe(target: Any, values: Mapping[str, Any], prefix: str) -> list[str]:
    lines: list[str] = []
    for name, key in keys(target).items():
        value = values.get(name, key.default) if isinstance(values, Mapping) else key.default
        section, choice = section_of(key.hint), choice_of(key.hint) or list_choice_of(key.hint)
        shown = "required" if value is REQUIRED else f"= {_short(value)}"
        lines.append(f"  {prefix}{name}  " + ("(section)" if section else f"({type_name(key.hint)})  {shown}"))
        if key.meaning:
            lines += textwrap.wrap(key.meaning, 100, initial_indent="      ", subsequent_indent="      ")
        if section is not None:
            inner = value if isinstance(value, Mapping) else {}
            lines += _describe(section, inner, f"{prefix}{name}.")
        elif choice is not None and value is not REQUIRED and value is not None:
            for item in value if isinstance(value, (list, tuple)) else [value]:
                options = {"name": item} if isinstance(item, str) else item
                if isinstance(options, Mapping) and options.get("name") in choice.registry.names():
                    lines += _describe(choice.registry.get(options["name"]), options, f"{prefix}{name}.")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "name" in value:
        return str(value["name"])
    return "none" if value is None else str(value)
