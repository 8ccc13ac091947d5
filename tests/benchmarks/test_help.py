"""Every benchmark says what it measures and which options it has."""

import importlib
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, LONG, main

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
