"""The command line of a benchmark: argparse, with an option that is given twice refused as the other commands do."""

import argparse
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that takes every option once; the text of `description` is shown as it is written."""

    def __init__(self, **options: Any):
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter} | options)
        self._given: set[str] = set()
        for name, kind in ((None, _Store), ("store", _Store), ("store_true", _StoreTrue)):
            self.register("action", name, kind)

    def parse_known_args(self, *args: Any, **options: Any) -> Any:
        """As argparse's; ends the process with status 2 on an option that is given twice."""
        self._given.clear()
        return super().parse_known_args(*args, **options)

    def take(self, option: str | None, name: str) -> None:
        """Note that an option is given. Ends the process where it was before."""
        if option is not None and name in self._given:
            self.error(f"{option} is given twice; give it once")
        self._given.add(name)

    def error(self, message: str) -> NoReturn:
        """One line, status 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


class _Store(argparse._StoreAction):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        parser.take(option_string, self.dest)
        super().__call__(parser, namespace, values, option_string)


class _StoreTrue(argparse._StoreTrueAction):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        parser.take(option_string, self.dest)
        super().__call__(parser, namespace, values, option_string)
