"""VersaAnimator's two transformer stages as real trainings: on two ranks, and stopped in the middle."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.strategies import COMMON, curve, train_all
from tests.models.test_versa_tokenizer import tokenizer
from tests.motions import write_motion_shards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Sums over ranks add up in another order; Adam makes more of it where gradients are small, step by step.
TOLERANCE = 1e-4
SMALL = (
    "stage.network.codes=32", "stage.network.width=16", "stage.network.layers=2", "stage.network.heads=2",
    "stage.network.feedforward=32", "stage.network.dropout=0",
    "stage.network.text=words", "stage.network.text_buckets=32", "stage.network.text_layers=1", "data.windows=clip",
    "trainer.max_steps=8",
    "trainer.gradient_clip_val=0.5", "trainer.check_val_every_n_epoch=null", "checkpoint.every_n_steps=4",
)  # fmt: skip
FIGURES = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "train/grad_norm")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: by one process, by two, and by one that goes on from the middle."""
    folder = tmp_path_factory.mktemp("versa")
    shards = folder / "shards"
    write_motion_shards(
        shards, clips=12, per_shard=4, seconds=[2.0, 2.6], splits=("train", "train", "val"),
        keys=("motion.npz", "speech.npz", "audio.flac"),
        info=lambda clip: {"captions": [{"start": 0, "end": 3, "text": f"a person waves {clip} times"}]},
    )  # fmt: skip
    tokenizer().save_pretrained(folder / "tokenizer")

    def train(stage: str, name: str, ranks: int, *more: str) -> list[str]:
        return [
            f"stage=versa.{stage}_motion", f"stage.tokenizer={folder / 'tokenizer'}", *SMALL, *COMMON,
            f"run={folder / name}", f"data.shards={shards}", f"trainer.devices={ranks}",
            f"data.batch_size={4 // ranks}", *more,
        ]  # fmt: skip

    def again(name: str) -> str:
        return f"resume={folder / name / 'checkpoints' / 'step-00000004.ckpt'}"

    text = f"stage.text_motion={folder / 'text'}"
    train_all(
        folder,
        "alone",
        [
            train("text", "text", 1),
            train("text", "text-again", 1, again("text")),
            train("audio", "audio", 1, text),
            train("audio", "audio-again", 1, text, again("audio")),
        ],
    )
    train_all(
        folder,
        "two",
        [
            train("text", "text-ddp", 2, "strategy=ddp"),
            train("text", "text-deepspeed_2", 2, "strategy=deepspeed_2"),
            train("text", "text-deepspeed_3", 2, "strategy=deepspeed_3"),
            train("audio", "audio-ddp", 2, text, "strategy=ddp"),
            train("audio", "audio-deepspeed_2", 2, text, "strategy=deepspeed_2"),
            train("audio", "audio-deepspeed_3", 2, text, "strategy=deepspeed_3"),
        ],
    )
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "export" / "model.safetensors")


@pytest.mark.parametrize("stage", ["text", "audio"])
def test_a_run_that_goes_on_from_the_middle_ends_as_the_unbroken_one(runs, stage):
    wanted, found = (
        {key: value for key, value in curve(runs / name, *FIGURES).items() if key[0] > 3}
        for name in (stage, f"{stage}-again")
    )
    assert found == wanted
    assert len(wanted) > 8
    one, two = weights(runs / stage), weights(runs / f"{stage}-again")
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("stage", ["text", "audio"])
@pytest.mark.parametrize("strategy", ["ddp", "deepspeed_2", "deepspeed_3"])
def test_two_ranks_are_one_process_of_twice_the_batch(runs, stage, strategy):
    one, two = (curve(runs / name, *FIGURES) for name in (stage, f"{stage}-{strategy}"))
    assert len(one) > 20
    assert two == pytest.approx(one, rel=TOLERANCE, abs=TOLERANCE)
    output, expected = weights(runs / f"{stage}-{strategy}"), weights(runs / stage)
    assert all(torch.allclose(output[name], expected[name], rtol=1e-3, atol=1e-5) for name in expected)


def test_the_frozen_text_branch_is_the_one_that_was_trained(runs):
    trained = {name: value for name, value in weights(runs / "text").items() if name.startswith("text.")}
    assert len(trained) > 10
    for name in ("audio", "audio-ddp", "audio-deepspeed_2", "audio-deepspeed_3"):
        held = weights(runs / name)
        assert all(torch.equal(held[key], value) for key, value in trained.items())
