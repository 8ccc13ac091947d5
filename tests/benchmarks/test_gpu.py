"""The GPU benchmark goes its whole way on a CPU, keeps what it has when a part fails and says where there is no GPU."""

import gc
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_rows, gpu_trainings, machine
from benchmarks.gpu import PARTS, main, run_part
from benchmarks.gpu_speed import CASES, TINY, Trained, planned_for
from benchmarks.gpu_trainings import OneNoise, apart
from benchmarks.ranks import smga
from cospeech import shipped
from settings.load import load
from trainers.fit import fit
from trainers.plan import training_config
from trainers.stage.base import SampleGenerator


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_tiny_on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "RESULTS", tmp_path / "results")
    out = tmp_path / "out"
    parts = ["smga", "adan", "mamba", "profile"]  # the others take minutes on a CPU
    assert main(["--cpu", "--tiny", "--limit", "3", "--out", str(out), "--parts", *parts]) == 0
    assert not (tmp_path / "results").exists(), "nothing is recorded"
    found = json.loads((out / "gpu.json").read_text())["parts"]
    assert list(found) == parts
    rows = found["smga"]["rows"]
    assert rows.keys() == {name for name in CASES if "compiled" not in name}
    for row in rows.values():
        assert row["step_ms"] > 0
        assert row["mfu"] is None, "no figure of a GPU from a CPU"
    plain, repeated = rows["bf16"], rows["bf16, gradient checkpointing"]
    assert repeated["tera_operations"] >= plain["tera_operations"]
    assert repeated["peak_bytes"]["planned"] < plain["peak_bytes"]["planned"]


def test_a_row_that_fails_is_recorded_and_the_next_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("no such kernel")

    rows = [("first", broken), ("second", lambda: {"ms": 1})]
    assert not gpu_rows.measure(rows, tmp_path / "rows")
    kept = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert kept[0]["first"]["failed"] == "RuntimeError: no such kernel"
    assert kept[1]["second"]["ms"] == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_row_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    """What one row leaves would count as memory of the next."""

    class Held:
        def __init__(self) -> None:
            self.hook = self.act  # as a stage and its hooks hold each other

        def act(self) -> dict[str, Any]:
            left.append(weakref.ref(self))
            return {}

    left: list[weakref.ref[Held]] = []
    gc.disable()
    try:
        gpu_rows.measure(
            [("first", lambda: Held().act()), ("second", lambda: {"left": left[0]() is not None})], tmp_path / "rows"
        )
    finally:
        gc.enable()
    assert json.loads((tmp_path / "rows").read_text().splitlines()[1])["second"]["left"] is False


def test_a_stage_of_two_optimisers_is_resumed_in_the_middle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its checkpoints are named by batches, its `max_steps` counts both optimisers."""
    asked = []

    def train(place: str, out: Path, device: str, steps: int, *words: str) -> Path:
        asked.append((steps, *words))
        out.mkdir()
        return out

    def losses(folder: Path) -> list[float]:
        return [1.0] * 4 if folder.name == "base-resumed" else [1.0] * 8

    monkeypatch.setattr(gpu_trainings, "train", train)
    monkeypatch.setattr(gpu_trainings, "losses", losses)
    gpu_trainings._compare("implicit_motion/base", tmp_path, "base", "cpu", 8, [], on_gpu=False)
    assert {steps for steps, *_ in asked} == {16}
    resumed = next(words[0] for _, *words in asked if words and words[0].startswith("resume="))
    assert resumed.endswith("step-00000004.ckpt")


def test_a_part_that_hangs_is_ended_and_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "hanging_part.py"
    module.write_text(
        "import sys, time, pathlib\n"
        "pathlib.Path(sys.argv[sys.argv.index('--rows') + 1]).write_text('{\"one\": {\"ms\": 2}}\\n')\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(PARTS, "adan", ("hanging_part", 1))
    found = run_part("adan", tmp_path, 3, [])
    assert found["ended"] == "stopped after 3 s"
    assert found["rows"] == {"one": {"ms": 2}}


def test_every_part_is_in_its_module() -> None:
    import importlib

    for name, (module, _) in PARTS.items():
        assert hasattr(importlib.import_module(module), f"{name}_part")


def test_sizes_reach_the_training() -> None:
    """A stage that is named behind its options would drop them."""
    values, _ = load(None, smga("mmgt.smga", **TINY, batch=2), fit)
    assert {name: values["stage"]["network"][name] for name in TINY} == TINY
    assert values["data"]["channels"] == TINY["audio_channels"] - 35


def test_no_gpu_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 2
    assert "no GPU" in capsys.readouterr().err
    assert gpu.main(["--cpu"]) == 2
    assert "--tiny" in capsys.readouterr().err


def test_noise_of_the_cpu_is_the_stages_own() -> None:
    keys = ["0/1/clip@0", "0/1/clip@25"]
    for mine, theirs in zip(_draws(OneNoise(keys, "cpu")), _draws(SampleGenerator(keys)), strict=True):
        assert torch.equal(mine, theirs)
    assert apart([1.0, 2.0], [1.0, 2.2]) == pytest.approx(0.2 / 2.2)


def _draws(random: SampleGenerator) -> Iterator[torch.Tensor]:
    yield random.normal(3)
    yield random.uniform()
    yield random.integers(0, 1000)


@pytest.mark.parametrize("place", ["versa/tokenizer", "implicit_motion/base"])
def test_a_step_without_a_trainer_moves_the_weights(place: str) -> None:
    config = training_config(str(shipped.folder("configs") / place / "tiny.yaml"), ["data.batch_size=1"])
    trained = Trained(config, torch.device("cpu"))
    before = {name: p.detach().clone() for name, p in trained.stage.named_parameters() if p.requires_grad}
    trained.step()
    moved = [name for name, p in trained.stage.named_parameters() if name in before and not p.equal(before[name])]
    assert len(moved) > 0.9 * len(before)


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H200", "h200"), ("NVIDIA H800", "h800"), ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-40GB", "a100-40"), ("NVIDIA A100-SXM4-80GB", "a100-80"),
    ],
)  # fmt: skip
def test_devices_are_known_by_their_names(device: str, name: str) -> None:
    assert planned_for(device) == name
