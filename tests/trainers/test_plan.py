"""The planner: what it predicts, what it refuses, how it is asked."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from settings import ConfigError
from tests.trainers import toy
from trainers.plan import main, plan, training_config
from trainers.planning.autocast import as_on_gpu, fused_attention
from trainers.planning.gpus import GPUS, gpu
from trainers.planning.inventory import inventory
from trainers.planning.live import LiveBytes
from trainers.planning.measure import build_stage, measure
from trainers.planning.samples import sample_batch
from trainers.planning.time import Assumptions, step_time, traffic
from trainers.stages import STAGES

toy.register()

PAPER = "configs/mmgt/smga/paper.yaml"
SHARDED = ("fsdp", "deepspeed_1", "deepspeed_2", "deepspeed_3")
SMALL = (
    "stage.network.width=32",
    "stage.network.layers=2",
    "stage.network.heads=2",
    "stage.network.feedforward=64",
    "data.global_batch=null",
    "data.batch_size=4",
)


def config(*words: str, path: str | None = PAPER) -> dict[str, Any]:
    # In fp32 and with a batch of each rank, unless a test says otherwise.
    return training_config(path, [*(["trainer.precision=32-true"] if path else []), *words])


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        status = main(words)
    except SystemExit as ended:
        status = int(ended.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


def test_live_bytes_counts_what_is_alive_and_its_most() -> None:
    before = torch.ones(1000)
    live = LiveBytes()
    live.leave_out(before)
    with live:
        a = before * 2
        b = a + 1
        view = b[10:]
        before.add_(1)
        del a, b
        c = torch.empty(500, device="meta")
    assert live.peak == 8000
    assert live.now == 4000 + 2000
    del view, c
    assert live.now == 0


def test_autocast_without_a_device_is_torchs() -> None:
    torch.manual_seed(0)
    layer, norm, x = nn.Linear(8, 8), nn.LayerNorm(8), torch.randn(3, 8)

    def forward() -> list[torch.Tensor]:
        h = layer(x)
        return [h, F.gelu(h), h @ h.T, torch.bmm(h[None], h.T[None]), x + h]

    with torch.autocast("cpu", torch.bfloat16):
        expected = forward()
    copies: list[torch.Tensor] = []
    with as_on_gpu(torch.bfloat16, copies.append):
        found = forward()
        layer(x)
        assert norm(layer(x)).dtype == torch.float32
    assert [t.dtype for t in found] == [t.dtype for t in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert [tuple(t.shape) for t in copies] == [(8, 8), (8,)], "each weight is copied once"
    assert layer(x).dtype == torch.float32, "and all is as before"


@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (3, 5, 8), (2, 2, 3, 5, 8)])
def test_fused_attention_keeps_shapes_and_no_matrix_of_pairs(shape: tuple[int, ...]) -> None:
    query = torch.empty(shape, device="meta", requires_grad=True)
    mask = torch.empty(5, 5, dtype=torch.bool, device="meta")
    assert fused_attention(query, query, query).shape == shape
    assert fused_attention(query, query, query, mask).shape == shape
    long = torch.empty(1, 1, 4096, 8, device="meta", requires_grad=True)
    with LiveBytes() as live:
        fused_attention(long, long, long).sum().backward()
    assert live.peak < 4096 * 4096


def test_meta_device_measures_what_the_cpu_does() -> None:
    words = ("stage.network.width=32", "data.global_batch=null", "data.batch_size=6")
    values = config(*words, path="configs/human/pose_autoencoder/tiny.yaml")
    found = measure(values, 6)
    assert "meta" in found.how
    stage = build_stage(values["stage"], "cpu")
    batch = sample_batch(stage.needs, values["data"], values["stage"], 6, "cpu")
    live = LiveBytes()
    live.leave_out(*stage.parameters(), *stage.buffers(), batch.pose)
    for p in stage.parameters():
        p.register_post_accumulate_grad_hook(lambda p: live.leave_out(p.grad))
    stage.log = lambda *args, **kwargs: None
    with live:
        stage.training_step(batch, 0).backward()
    assert found.activations == pytest.approx(live.peak, rel=0.1)


def test_stage_that_looks_at_numbers_is_measured_on_the_cpu() -> None:
    class Looks(toy.ToyStage):
        """Takes noise off poses, and looks at the loss."""

        def training_step(self, batch: Any, batch_index: int) -> torch.Tensor:
            loss = super().training_step(batch, batch_index)
            return loss * 2 if loss.item() > 0 else loss

    if "looks" not in STAGES.names():
        STAGES.add("looks", Looks)
    words = ("data=toy", "data.batch_size=8", "stage.network.dropout=0")
    looks = measure(config("stage=looks", *words, path=None), 8)
    plain = measure(config("stage=toy", *words, path=None), 8)
    assert "CPU" in looks.how
    assert looks.operations == plain.operations
    assert looks.activations == pytest.approx(plain.activations, rel=0.1)


def test_checkpointing_batch_and_precision_change_a_step() -> None:
    base = measure(config(*SMALL), 4)
    assert measure(config(*SMALL), 8).activations == pytest.approx(2 * base.activations, rel=0.02)
    assert measure(config(*SMALL), 8).operations == pytest.approx(2 * base.operations, rel=0.01)
    repeated = measure(
        config(*SMALL, "stage.network.layers=6", "stage.network.block_feedforward=true", "gradient_checkpointing=true"),
        4,
    )
    deep = measure(config(*SMALL, "stage.network.layers=6", "stage.network.block_feedforward=true"), 4)
    assert repeated.activations < 0.5 * deep.activations
    assert 1.1 * deep.operations < repeated.operations < 1.4 * deep.operations
    half = measure(config(*SMALL, "trainer.precision=bf16-mixed"), 4)
    assert 0.5 * base.activations < half.activations < 0.75 * base.activations
    assert base.copies == 0
    assert half.copies > 0


@pytest.mark.parametrize(("optimizer", "state"), [("adan", 16), ("adamw", 8), ("adam", 8)])
def test_state_of_optimisers_is_counted(optimizer: str, state: float) -> None:
    values = config(*SMALL, f"stage.optimizer={optimizer}")
    found = inventory(build_stage(values["stage"]))
    assert [part.state for part in found.parts] == [state]
    assert found.count == sum(p.numel() for p in STAGES.build(values["stage"]).parameters())


def test_a_stage_with_two_optimisers_has_two_parts() -> None:
    found = inventory(build_stage({"name": "toy_gan"}))
    assert [(part.name, part.averaged) for part in found.parts] == [("network", True), ("discriminator", False)]
    assert found.fixed == 4 * (3 * 5 + 5 + 5 * 2 + 2 + 1), "the frozen judge, and a buffer"
    assert plan(config("stage=toy_gan", "data=toy", path=None), gpus=2).fits


HEAVY = (
    "mmgt/video_pose/paper", "mmgt/video_audio/paper", "paha/univdm/paper", "paha/pce", "versa/pose_video/paper",
    "versa/audio_video/paper",
)  # fmt: skip
"""Configs whose networks take long to count."""
BATCHES = {"univdm": 2, "pce_face": 1, "pce_nonface": 1, "pose_video": 1, "audio_video": 1}
"""What a GPU holds of the largest stages in fp32; of the others it holds four."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=str(path), marks=[pytest.mark.slow] if any(name in str(path) for name in HEAVY) else [])
        for path in sorted(Path("configs").glob("*/*/*.yaml"))
    ],
)
@pytest.mark.parametrize("strategy", ["ddp", *(pytest.param(name, marks=pytest.mark.slow) for name in SHARDED)])
def test_every_stage_can_be_planned(path: Path, strategy: str, once_a_config: None) -> None:
    if "smga" in str(path):
        words = SMALL
    else:
        size = BATCHES.get(path.parent.name, 4)
        words = ("data.global_batch=null", f"data.batch_size={size}")
    output = plan(config(f"strategy={strategy}", *words, path=str(path)), gpus=16, gpu="a100")
    assert output.fits
    assert [row["gpus"] for row in output.scaling] == [1, 8, 16]
    assert all(0 < row["efficiency"] <= 1 for row in output.scaling)
    assert output.scaling[0]["efficiency"] == 1


def test_bytes_sent_are_those_of_the_strategies() -> None:
    """P trained elements: rings send what the papers say, ZeRO 1 and 2 what DeepSpeed does."""

    def sent(strategy: str, *words: str) -> dict[str, float]:
        values = config(*SMALL, f"strategy={strategy}", *words)
        found = inventory(build_stage(values["stage"]))
        return {kind: size / found.count for kind, size in traffic(values, found, 8).items()}

    assert sent("ddp") == {"all-reduce": 4, "reduce-scatter": 0, "all-gather": 0}
    assert sent("deepspeed_2") == {"all-reduce": 4, "reduce-scatter": 0, "all-gather": 4}
    assert sent("deepspeed_2", "trainer.accumulate_grad_batches=3")["all-reduce"] == 12
    assert sent("deepspeed_1", "trainer.accumulate_grad_batches=3")["all-reduce"] == 4
    assert sent("deepspeed_3") == {"all-reduce": 0, "reduce-scatter": 4, "all-gather": 4}
    fsdp = sent("fsdp")
    assert fsdp["reduce-scatter"] == 4
    assert 4 < fsdp["all-gather"] < 8
    assert sent("fsdp", "trainer.precision=bf16-mixed")["all-gather"] == fsdp["all-gather"] / 2


def test_step_time_is_the_stated_model() -> None:
    values = config(*SMALL, "strategy=ddp")
    found = inventory(build_stage(values["stage"]))
    card = gpu("h800")
    assumed = Assumptions(mfu=0.5, overlap=0.25, link=0.8, gpus_per_node=8)
    step = step_time(values, found, 10**12, card, 16, assumed)
    assert step.compute == pytest.approx(10**12 / (67e12 * 0.5))
    assert step.communication == pytest.approx(2 * 15 / 16 * 4 * found.count / (0.8 * 200e9))
    assert step.exposed == pytest.approx(0.75 * step.communication)
    assert step.samples == 64
    # With little to compute, little is hidden.
    short = step_time(values, found, 1, card, 16, assumed)
    assert short.exposed == pytest.approx(short.communication - short.compute)
    # One slow card a node is what a ring through two nodes waits for.
    slow = step_time(values, found, 10**12, card, 16, Assumptions(0.5, 0.25, 0.8, 2))
    assert slow.communication == pytest.approx(2 * step.communication)


@pytest.mark.slow
def test_a_config_that_does_not_fit_is_refused_with_what_would_help(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--config", PAPER, "--gpus", "64", "--gpu=h800", "data.batch_size=2048", "stage.network.layers=4")
    words += ("stage.network.block_feedforward=true",)
    words += ("trainer.precision=32-true", "data.global_batch=null")
    status, out, err = run(capsys, *words)
    assert status == 2
    assert "does not fit" in out
    lines = err.splitlines()
    assert "it does not fit" in lines[0]
    saved = [line.split(":")[0].strip() for line in lines[1:]]
    assert {"gradient_checkpointing=true", "trainer.precision=bf16-mixed", "data.batch_size=1024"} <= set(saved)
    # What it says of a change is what a plan with the change says.
    line = next(line for line in lines if "gradient_checkpointing=true" in line)
    changed = (
        "data.global_batch=null",
        "data.batch_size=2048",
        "stage.network.layers=4",
        "stage.network.block_feedforward=true",
    )
    output = plan(config(*changed, "gradient_checkpointing=true"), gpus=64)
    assert f"{output.total / 2**30:.1f} GiB a GPU" in line
    assert ("fits" in line) == output.fits
    assert run(capsys, *words, "gradient_checkpointing=true")[0] == (0 if output.fits else 2)


@pytest.mark.slow
def test_changes_are_named_in_order_of_effect() -> None:
    output = plan(
        config("data.global_batch=null", "data.batch_size=2048", "stage.network.layers=4", "strategy=deepspeed_2"),
        gpus=8,
        gpu="a100-40",
    )
    saves = [change["saves"] for change in output.changes]
    assert saves == sorted(saves, reverse=True)
    words = [change["words"] for change in output.changes]
    assert "gradient_checkpointing=true" in words
    for change in output.changes[:3]:
        repeated = plan(
            config(
                "data.global_batch=null",
                "data.batch_size=2048",
                "stage.network.layers=4",
                "strategy=deepspeed_2",
                change["words"],
            ),
            gpus=8,
        )
        assert repeated.total == change["total"], "the words are words of the training config"


@pytest.mark.slow
def test_where_no_change_is_enough_several_are_named() -> None:
    output = plan(
        config("data.global_batch=null", "data.batch_size=1", "stage.network.width=8192", "stage.network.layers=12"),
        gpus=8,
        gpu="a100-40",
    )
    assert not output.fits
    assert all(change["total"] > output.limit for change in output.changes)
    assert "together" in output.said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gpu=h900",), "did you mean"),
        (("gpus=0",), "gpus"),
        (("stage.widht=3",), "width"),
        (("strategy=fsdp", "strategy.offload=optimizer"), "strategy.offload=all"),
        (("strategy=fsdp", "trainer.precision=16-mixed"), "fsdp takes"),
        (("mfu=2",), "mfu"),
        (("stage.network.width=33",), "heads"),
        (("fast",), "key=value"),
    ],
)
def test_what_cannot_be_used_is_named(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "--config", PAPER, *words)
    assert status == 2
    assert err.startswith("config error: ")
    assert said in err


def test_both_ways_of_writing_options_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.json"
    one = run(capsys, "--config", PAPER, "--gpus", "16", "--gpu", "h100", "--json", *SMALL, f"out={out}")
    other = run(capsys, f"--config={PAPER}", "gpus=16", "gpu=h100", "json=true", *SMALL, "--gpus-per-node", "8")
    assert one[0] == other[0] == 0
    first = json.loads(one[1])
    assert first == json.loads(other[1]) == json.loads(out.read_text())
    assert first["gpus"] == 16
    assert first["batch_size"] == 4
    status, text, _ = run(capsys, "--help")
    assert status == 0
    assert "gpus_per_node" in text


def test_gpus_are_those_of_the_data_sheets() -> None:
    assert gpu("a100") is GPUS["a100-80"]
    assert gpu("H800").nvlink * 2 == 400e9
    assert gpu("h800").bf16 == gpu("h100").bf16
    assert GPUS["h200"].memory > GPUS["h100"].memory
    assert all(card.source for card in GPUS.values())
    with pytest.raises(ConfigError, match="h100"):
        gpu("h101")
