"""The command line that every command has: `--config FILE key=value ...`, `--help`, `--print-config`."""

import os
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from cospeech import started
from settings.load import COMMAND_LINE, holds_texts, load
from settings.registry import ConfigError
from settings.schema import REQUIRED, Target, check, choice_of, keys, list_choice_of, section_of, type_name


def command(
    target: Target,
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    config: str | None = None,
    required_config: bool = False,
    positional: str | None = None,
) -> dict[str, Any]:
    """Read a command line against a signature; ends the process on `--help`, `--print-config` and on a bad config.

    Options may be written `key=value`, `--key value` or `--key=value`; a dotted key reaches into a section. A key that
    holds a list of text may be given several times. Any other that is repeated is refused, except that `key=value` may
    set anew what `key=value` has set before it, as scripts do with options of their own; that is said.
    `--print-config` writes `???` for a required key that is not set.

    Args:
        target: class, function or dataclass whose typed signature and docstring are the schema and the help.
        argv: the words of the command line, without the program's name.
        prog: how the command is started, for the help.
        config: file to read where none is given.
        required_config: a config file must be given.
        positional: the key that a word without a key's name sets.

    Returns:
        Plain nested values, all defaults filled in. A bad config is one line on standard error and exit status 2.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if name := started.name():
        prog = re.sub(r"^python -m \S+", name, prog)
    try:
        path, overrides, wants, notes = _split(_named(words, target, positional), target)
        path = path or config
        if "help" in wants:
            try:
                values, _ = load(path, overrides, target)
            except ConfigError:
                values = {}
            _say(_help(target, values, prog, required_config, positional))
            raise SystemExit(0)
        if path is None and required_config and not wants:
            raise ConfigError(f"which config? start it as: {prog} --config FILE [key=value ...]")
        values, origins = load(path, overrides, target)
        missing = "???" if wants else REQUIRED
        resolved = check(values, target, str(path or "command line"), origins, missing)
    except ConfigError as error:
        print(f"config error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if "print-config" in wants:
        _say(OmegaConf.to_yaml(OmegaConf.create(resolved)).rstrip("\n"))
        raise SystemExit(0)
    for note in notes:
        print(note, file=sys.stderr)
    return resolved


def value_of(argv: Sequence[str] | None, target: Target, name: str, positional: str | None = None) -> Any:
    """The value that a command line gives a key, before the others are checked; None where it gives none, or where what
    it says cannot be read, which `command` then says."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        path, overrides, _, _ = _split(_named(words, target, positional), target)
        return load(path, overrides, target)[0].get(name)
    except ConfigError:
        return None


def _say(text: str) -> None:
    """Print; a reader that stops early (`| head`) is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _named(words: list[str], target: Target, positional: str | None) -> list[str]:
    """Put the name of the positional key before a word that names no key."""
    if positional is None:
        return words
    named, value_follows = [], False
    for word in words:
        is_option = word.startswith("-")
        is_key = word.partition("=")[0].partition(".")[0] in keys(target) and "=" in word
        named.append(word if is_option or is_key or value_follows else f"{positional}={word}")
        known = keys(target).get(word[2:].replace("-", "_"))
        value_follows = word == "--config" or (is_option and known is not None and known.hint is not bool)
    return named


def _split(words: list[str], target: Any) -> tuple[str | None, list[str], set[str], list[str]]:
    path, overrides, wants = None, [], set()
    notes: list[str] = []
    given: dict[str, tuple[str, bool]] = {}

    def add(name: str, value: str, dashes: bool) -> None:
        overrides.append(f"{name}={value}")
        key = known.get(name)
        if key is not None and holds_texts(key.hint):
            return
        before, dashes_before = given.get(name, (value, False))
        if name in given and (dashes or dashes_before or (key is not None and key.default is REQUIRED)):
            raise ConfigError(f"{COMMAND_LINE}: '{name}' is given twice, as {before} and as {value}; give it once")
        if before != value:
            notes.append(f"{name} is given twice: {value} is used, not {before}")
        given[name] = value, dashes

    known = keys(target)
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            wants.add("help")
        elif word == "--print-config":
            wants.add("print-config")
        elif word == "--config" or word.startswith("--config="):
            if path is not None:
                raise ConfigError(f"{COMMAND_LINE}: --config is given twice; let one file extend the other")
            path = word.partition("=")[2] or (words.pop(0) if words else None)
            if path is None:
                raise ConfigError("command line: --config needs a file")
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not equals:
                value = words.pop(0) if words and not words[0].startswith("--") else "true"
            add(name.replace("-", "_"), value, dashes=True)
        elif "=" in word:
            name, _, value = word.partition("=")
            add(name, value, dashes=False)
        else:
            overrides.append(word)
    return path, overrides, wants, notes


def _help(
    target: Any, values: Mapping[str, Any], prog: str, required_config: bool, positional: str | None = None
) -> str:
    config = "--config FILE" if required_config else "[--config FILE]"
    if positional is not None:
        config = f"{positional.upper()} {config}"
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
