"""Both steps of VersaAnimator's video diffusion on two ranks: one curve by every strategy, and what was planned."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.autoencoders import save_autoencoder
from tests.e2e.strategies import VERSA, VIDEO_FIGURES, VIDEO_WORDS, assert_one_curve, assert_planned, train_all
from tests.trainers.versa_video_stages import options
from tests.trainers.video_stages import latent_shards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

STRATEGIES = ("ddp", "fsdp", "deepspeed_2", "deepspeed_3")
KINDS = tuple(VERSA)
RANKS, BATCH = 2, 4
# Sums over ranks and over flattened parameters add up in another order: units of the last place of float32, 1e-7, and
# what four steps make of them.
TOLERANCE = 8e-6
OPTIMIZER = "stage.optimizer={name: adam, lr: 1.0e-3, eps: 1.0e-5}"
"""Biases that a norm takes away again have gradients of rounding alone, some 1e-9, by whose sign Adam would take whole
steps if nothing larger stood below the line."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Runs by one process, and by two; the second step builds on the first step's run alone."""
    folder = tmp_path_factory.mktemp("versa")
    vae = save_autoencoder(folder / "vae")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSPEECH_CACHE", str(folder / "cache"))
        shards = latent_shards(folder, vae, seconds=0.92, faces=True)  # four windows of each

    def one(kind: str, strategy: str, ranks: int) -> list[str]:
        second = kind == "audio_video"
        sizes = options(kind, **({"identity_channels": 512} if second else {}))
        return [
            f"stage={VERSA[kind] if ranks > 1 else f'versa.{kind}'}", f"stage.autoencoder={vae}",
            f"data.shards={shards}", *VIDEO_WORDS, OPTIMIZER,
            *(f"stage.network.{name}={json.dumps(value)}" for name, value in sizes.items()),
            *([f"stage.base={folder / 'pose_video-auto'}"] if second else []), f"strategy={strategy}",
            f"run={folder / f'{kind}-{strategy}'}", f"trainer.devices={ranks}", f"data.batch_size={BATCH // ranks}",
        ]  # fmt: skip

    train_all(folder, "alone", [one(kind, "auto", 1) for kind in KINDS])
    train_all(folder, "ranks", [one(kind, strategy, RANKS) for kind in KINDS for strategy in STRATEGIES])
    return SimpleNamespace(folder=folder, words=one)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks_are_one_process_with_twice_the_batch(kind: str, strategy: str, runs: SimpleNamespace):
    assert_one_curve(runs.folder, kind, strategy, VIDEO_FIGURES, TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_exports_are_those_of_one_process(kind: str, strategy: str, runs: SimpleNamespace):
    one, other = (
        load_file(runs.folder / f"{kind}-{each}" / "export" / "model.safetensors") for each in ("auto", strategy)
    )
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(other[name], one[name], rtol=0, atol=2e-5, msg=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ranks_hold_what_was_planned(kind: str, strategy: str, runs: SimpleNamespace):
    words = [*runs.words(kind, strategy, RANKS), f"stage=versa.{kind}"]
    assert_planned(runs.folder / f"{kind}-{strategy}", words, strategy, RANKS)
