"""What is timed was run before: every benchmark warms up, and says so."""

import argparse
import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import loader, mamba, smga, startup, versa, versa_tokenizer

FOLDER = Path(loader.__file__).parent
TELL_NO_SPEED = {"gpu_rows", "machine", "proofs", "ranks", "soak"}
"""They read the clock to say how far they are, or lend it to those that measure."""


def test_every_benchmark_that_times_says_how_it_warms_up():
    timed = {}
    for path in sorted(FOLDER.glob("*.py")):
        text = path.read_text()
        if any(word in text for word in ("perf_counter", "WARM_UP", "steady_seconds(", "seconds_of(")):
            timed[path.stem] = text
    assert {"versa", "smga", "loader", "mamba", "implicit_motion", "smplx_fit", "startup"} <= set(timed)
    for name in set(timed) - TELL_NO_SPEED:
        said = timed[name] if name.startswith("gpu") else ast.get_docstring(ast.parse(timed[name]))
        assert "warm" in (said or "").lower(), f"benchmarks/{name}.py does not say how it warms up"


class Watch:
    """Notes what runs, and whether it was being timed."""

    def __init__(self, clock: SimpleNamespace):
        self.runs: list[tuple[str, bool]] = []
        self.clock = clock

    def act(self, name: str):
        return lambda *given, **options: self.runs.append((name, self.clock.running))

    def first_runs(self) -> dict[str, bool]:
        """Whether the first run of each was timed."""
        found: dict[str, bool] = {}
        for name, timed in self.runs:
            found.setdefault(name, timed)
        return found


@pytest.fixture
def watch(monkeypatch) -> Watch:
    clock = SimpleNamespace(running=False)

    def seconds(act, *given) -> float:
        clock.running = True
        act()
        clock.running = False
        return 1.0

    for module in (mamba, smga, versa, versa_tokenizer):
        monkeypatch.setattr(module, "seconds", seconds)
    return Watch(clock)


def warmed(watch: Watch, names: set[str], runs: int) -> None:
    assert watch.first_runs() == dict.fromkeys(names, False)
    assert {name: sum(timed for one, timed in watch.runs if one == name) for name in names} == dict.fromkeys(
        names, runs
    )


def test_versas_steps(watch, monkeypatch):
    monkeypatch.setattr(versa, "steps", lambda *given: {name: watch.act(name) for name in ("ours", "reference")})
    versa.compare(2, False, repeats=3)
    warmed(watch, {"ours", "reference"}, 3)


def test_versas_generation(watch, monkeypatch):
    monkeypatch.setattr(versa, "MotionTokenizer", lambda: SimpleNamespace(eval=lambda: SimpleNamespace(decode=len)))
    monkeypatch.setattr(
        versa, "MotionTransformer", lambda audio_branch=False: SimpleNamespace(eval=lambda: str(audio_branch))
    )
    monkeypatch.setattr(
        versa, "generate", lambda network, *given, **options: watch.act(network)() or torch.zeros(1, dtype=torch.long)
    )
    versa.generation(repeats=2, unmasking=1)
    warmed(watch, {"True", "False"}, 2)


def test_the_tokenizers_steps(watch, monkeypatch):
    names = ("ours", "ours, lengths", "plain")
    monkeypatch.setattr(versa_tokenizer, "contenders", lambda *given: {name: watch.act(name) for name in names})
    versa_tokenizer.measure({}, 2, 4, torch.device("cpu"), False)
    warmed(watch, set(names), 4)


def test_scans(watch, monkeypatch):
    def scan(name: str):
        return lambda u, *rest: watch.act(name)() or u * sum(one.sum() for one in rest)

    monkeypatch.setattr(mamba, "contenders", lambda *given: {name: scan(name) for name in ("ours", "naive")})
    options = argparse.Namespace(batch=1, width=4, states=2, repeats=2)
    mamba.measure(8, options, "cpu")
    warmed(watch, {"ours", "naive"}, 2)


def test_the_loaders_rounds(monkeypatch):
    calls: list[str] = []
    slow = iter([100.0, 100.0])  # the first run of each

    def measure(name: str):
        def act():
            calls.append(name)
            return 10, SimpleNamespace(wall=next(slow, 1.0), cpu=1.0)

        return act

    found = loader.compare(2, loader=measure("loader"), raw=measure("raw"))
    assert calls == ["loader", "raw"] * 3
    assert found["windows_per_second"] == {"loader": [10.0, 10.0], "raw": [10.0, 10.0]}


def test_the_first_start_is_not_counted(monkeypatch, tmp_path):
    takes = iter((9.0, 2.0, 3.0))
    monkeypatch.setattr(startup, "first_step", lambda shards, run: next(takes))
    assert startup.starts(tmp_path, 2) == [2.0, 3.0]
