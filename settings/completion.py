"""Completion in a shell: `cospeech completion bash`, `cospeech completion zsh`."""

import argparse
import importlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

import shtab

from cospeech.commands import COMMANDS
from cospeech.shipped import presets
from settings.command import command
from settings.schema import choice_of, keys, list_choice_of, section_of, type_name

_FLAGS = ("--help", "--print-config")


def completion(*, shell: Literal["bash", "zsh"] = "bash") -> str:
    """Print a script that completes commands, their keys (as `--key`), values to choose from, presets and files.

    bash: `cospeech completion bash > ~/.local/share/bash-completion/completions/cospeech`;
    zsh: `cospeech completion zsh > _cospeech` into a folder of $fpath.

    Args:
        shell: bash or zsh.

    Returns:
        The script.
    """
    return shtab.complete(parser(), shell=shell)


def parser() -> argparse.ArgumentParser:
    """All commands and keys as argparse knows them; for completion alone, nothing is read with it."""
    top = argparse.ArgumentParser(prog="cospeech", add_help=False)
    top.add_argument("--help", action="store_true", help="list the commands")
    top.add_argument("--version", action="store_true", help="version")
    below = top.add_subparsers()
    for name, one in COMMANDS.items():
        sub = below.add_parser(name, help=one.line, add_help=False)
        for flag in _FLAGS:
            sub.add_argument(flag, action="store_true")
        config = sub.add_argument("--config", choices=presets() if name in ("fit", "plan") else None)
        if config.choices is None:
            config.complete = shtab.FILE  # type: ignore[attr-defined]
        for key, hint, meaning in _keys_of(name, one.target):
            option = sub.add_argument(f"--{key}", help=meaning.replace("%", "%%"), choices=_values(hint))
            if option.choices is None:
                option.complete = shtab.FILE  # type: ignore[attr-defined]
    return top


def _keys_of(name: str, target: str) -> Iterator[tuple[str, Any, str]]:
    module, _, attribute = target.partition(":")
    yield from _below(getattr(importlib.import_module(module), attribute), "")
    if name == "plan":
        from_fit = set(keys(getattr(importlib.import_module(module), attribute)))
        yield from (entry for entry in _keys_of("fit", COMMANDS["fit"].target) if entry[0] not in from_fit)


def _below(target: Any, prefix: str) -> Iterator[tuple[str, Any, str]]:
    for key, known in keys(target).items():
        section = section_of(known.hint)
        if key == "config" and not prefix:
            continue  # --config is there already
        if section is None:
            yield f"{prefix}{key}", known.hint, known.meaning.partition("; ")[0]
        else:
            yield from _below(section, f"{prefix}{key}.")


def _values(hint: Any) -> list[str] | None:
    """What can be chosen; None for free values."""
    choice = choice_of(hint) or list_choice_of(hint)
    if choice is not None:
        return choice.registry.names()
    if hint is bool:
        return ["true", "false"]
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    if " | " in type_name(hint):
        found = [value for part in get_args(hint) if (values := _values(part)) for value in values]
        return found or None
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    print(completion(**command(completion, argv, prog="python -m settings.completion", positional="shell")))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
