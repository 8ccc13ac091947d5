"""The benchmark of the selective scan goes its whole way at a small size, and its arithmetic is right."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import machine
from benchmarks import mamba as benchmark

SMALL = ["--cpu", "--lengths", "1000", "1500", "--batch", "1", "--width", "4", "--states", "2", "--repeats", "1"]


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(benchmark, "keep_freed_memory", lambda: None)
    monkeypatch.setitem(sys.modules, "mambapy", None)
    benchmark.has_mambapy.cache_clear()
    threads = torch.get_num_threads()
    yield
    benchmark.has_mambapy.cache_clear()
    torch.set_num_threads(threads)


def test_small_on_the_cpu(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert benchmark.main([*SMALL, "--threads", "1"]) == 0
    said = capsys.readouterr().out
    assert "pip install --no-deps mambapy" in said, "how to get what is missing"
    (path,) = tmp_path.glob("mamba-*.json")
    result = json.loads(path.read_text())
    first, second = (result["rows"][length] for length in ("1000", "1500"))
    assert first["ms"].keys() == {"ours", "naive"}
    assert second["ms"].keys() == {"ours"}, "the loop takes part at short lengths only"
    assert first["ours_over"]["naive"] == pytest.approx(first["ms"]["ours"] / first["ms"]["naive"], rel=0.02)
    assert result["growth_exponent"]["ours"] is not None
    assert result["growth_exponent"]["fused"] is None
    assert result["seed"] == 0
    assert path.name in said


def test_who_disagrees_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "naive", lambda u, dt, A, B, C: benchmark.plain(u, dt, A, B, 1.01 * C))
    with pytest.raises(AssertionError, match="naive disagrees at 1000 steps"):
        benchmark.main([*SMALL, "--threads", "1"])


def test_exponent_is_the_slope_from_a_thousand_steps_on() -> None:
    times = {10: 1.0} | {length: 3e-6 * length**1.25 for length in (1_000, 2_000, 16_000)}
    assert benchmark.exponent(times) == 1.25
    assert benchmark.exponent({1_000: 1.0}) is None


def test_least_bytes_are_those_of_inputs_outputs_and_gradients() -> None:
    u, dt, _, B, C = benchmark.inputs(2, 30, 5, 3, "cpu")[0]
    y = u
    forward = [u, dt, B, C, y]
    backward = [u, dt, B, C, y, u, dt, B, C]
    assert benchmark.least_bytes(2, 30, 5, 3) == sum(x.nbytes for x in forward + backward)
