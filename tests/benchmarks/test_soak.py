"""The soak takes its words as the project's commands do, and shares its kills out."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine
from benchmarks import soak as benchmark


@pytest.mark.parametrize(
    "words", [("kills=5", "strategies=auto,ddp", "seed=7"), ("--kills", "5", "--strategies=auto,ddp", "--seed", "7")]
)
def test_kills_are_shared_out(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def soak(kills: int, strategy: str, folder: Path, seed: int) -> dict[str, Any]:
        asked.append((kills, strategy, seed))
        return {"kills": kills, "steps_that_differ": []}

    monkeypatch.setattr(benchmark, "soak", soak)
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    assert benchmark.main(list(words)) == 0
    assert asked == [(3, "auto", 7), (2, "ddp", 8)]
