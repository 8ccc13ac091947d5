"""Every benchmark says what it measures and which options it has."""

import importlib
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, LONG, main
from benchmarks.arguments import Parser

FILES = [path for path in (Path(__file__).parents[2] / "benchmarks").glob("*.py") if "def main" in path.read_text()]
PARTS = sorted(path.stem for path in FILES if path.stem != "__main__")


def test_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in (*BENCHMARKS, *LONG):
        assert name in out
        assert name in PARTS


@pytest.mark.parametrize("name", PARTS)
def test_each(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [f"benchmarks.{name}", "--help"])
    module = importlib.import_module(f"benchmarks.{name}")
    with pytest.raises(SystemExit) as end:
        module.main(["--help"]) if name in ("soak", "proofs") else module.main()
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


TWICE = ("--batch 3 --batch 4", "--batch=3 --ba 4", "--tiny --batch 3 --tiny", "--seeds 1 2 --seeds 3")


@pytest.mark.parametrize("words", TWICE)
def test_an_option_that_is_given_twice_is_refused_in_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="benchmarks.any")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    assert parser.parse_args(["--batch", "3", "--seeds", "1"]).batch == 3
    assert parser.parse_args(["--batch", "4", "--tiny"]).batch == 4  # nothing is left of the call before
    with pytest.raises(SystemExit) as end:
        parser.parse_args(words.split())
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "is given twice; give it once" in said
    assert said.count("\n") == 1


def test_all_benchmarks_read_their_options_once() -> None:
    for path in FILES:
        assert "argparse.ArgumentParser(" not in path.read_text(), path
