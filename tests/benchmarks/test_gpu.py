"""The GPU benchmark goes its whole way on a CPU, and says so where there is no GPU."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import machine
from benchmarks.gpu import CASES, main, planned_for


@pytest.mark.slow
def test_tiny_on_the_cpu(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    assert main(["--cpu", "--tiny", "--batch", "2", "--steps", "5"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows.keys() == CASES.keys()
    for row in rows.values():
        assert row["step_ms"] > 0
        assert row["mfu"] is None, "no figure of a GPU from a CPU"
    plain, again = rows["alone"], rows["alone, gradient checkpointing"]
    assert again["tera_operations"] > plain["tera_operations"]
    assert again["peak_bytes"]["planned"] < plain["peak_bytes"]["planned"]
    assert not list(tmp_path.iterdir()), "nothing is recorded"


def test_no_gpu_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 2
    assert "no GPU" in capsys.readouterr().err
    assert main(["--cpu"]) == 2
    assert "--tiny" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H200", "h200"), ("NVIDIA H800", "h800"), ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-40GB", "a100-40"), ("NVIDIA A100-SXM4-80GB", "a100-80"),
    ],
)  # fmt: skip
def test_devices_are_known_by_their_names(device: str, name: str) -> None:
    assert planned_for(device) == name
