"""Both steps of MMGT's video diffusion on two ranks: every strategy gives one curve, and leaves out what is frozen."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from models.mmgt.video import MMGTVideo
from tests.autoencoders import save_autoencoder
from tests.e2e.strategies import VIDEO, VIDEO_FIGURES, VIDEO_WORDS, assert_one_curve, assert_planned, train_all
from tests.trainers.video_stages import NETWORK, latent_shards
from trainers.run.checkpoints import read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

STRATEGIES = ("ddp", "fsdp", "deepspeed_2", "deepspeed_3")
RANKS, BATCH = 2, 4
# Sums over ranks and over flattened parameters add up in another order: units of the last place of float32, 1e-7, and
# what four steps make of them.
TOLERANCE = 8e-6


def trained(name: str) -> bool:
    """Whether the second step trains a parameter; the first trains the others."""
    return "audio" in name or "motion_modules" in name


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Runs by one process, and by two; the second step builds on the first step's run alone."""
    folder = tmp_path_factory.mktemp("video")
    vae = save_autoencoder(folder / "vae")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSPEECH_CACHE", str(folder / "cache"))
        shards = latent_shards(folder, vae, seconds=0.92)  # four windows of each: the same number for every rank
    words = [
        f"stage.autoencoder={vae}",
        f"data.shards={shards}",
        *VIDEO_WORDS,
        "stage.optimizer={name: adam, lr: 1.0e-3}",
    ]
    words += [f"stage.network.{name}={json.dumps(value)}" for name, value in NETWORK.items()]

    def one(kind: str, strategy: str, ranks: int) -> list[str]:
        base = [f"stage.base={folder / 'video_pose-auto'}"] if kind == "video_audio" else []
        if ranks > 1 and kind == "video_pose":
            base.append("gradient_checkpointing=true")  # changes no figure, under any strategy
        return [
            f"stage={VIDEO[kind] if ranks > 1 else f'mmgt.{kind}'}", *words, *base, f"strategy={strategy}",
            f"run={folder / f'{kind}-{strategy}'}", f"trainer.devices={ranks}", f"data.batch_size={BATCH // ranks}",
        ]  # fmt: skip

    train_all(folder, "alone", [one(kind, "auto", 1) for kind in VIDEO])
    train_all(folder, "ranks", [one(kind, strategy, RANKS) for kind in VIDEO for strategy in STRATEGIES])
    return SimpleNamespace(folder=folder, words=one)


@pytest.mark.parametrize("kind", ["video_pose", "video_audio"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks_are_one_process_with_twice_the_batch(kind: str, strategy: str, runs: SimpleNamespace):
    assert_one_curve(runs.folder, kind, strategy, VIDEO_FIGURES, TOLERANCE)


@pytest.mark.parametrize("kind", ["video_pose", "video_audio"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_frozen_is_in_no_checkpoint_and_the_export_is_whole(kind: str, strategy: str, runs: SimpleNamespace):
    out = runs.folder / f"{kind}-{strategy}"
    held = read(out / "checkpoints" / "step-00000004.ckpt")
    names = {f"network.{name}" for name, _ in MMGTVideo(**NETWORK).named_parameters()}
    there = names & set(held["state_dict"])
    assert there == {name for name in names if trained(name)} if kind == "video_audio" else there
    assert kind == "video_audio" or (there and not any(map(trained, there)))
    assert [len(part) for part in held["parameters"]] == [len(there)]
    assert [len(optimizer["state"]) for optimizer in held["optimizer_states"]] == [len(there)]
    alone = runs.folder / f"{kind}-auto"
    one, other = (load_file(each / "export" / "model.safetensors") for each in (alone, out))
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(other[name], one[name], rtol=0, atol=2e-5, msg=name)
    if kind == "video_audio":
        base = load_file(runs.folder / "video_pose-auto" / "export" / "model.safetensors")
        assert all(torch.equal(base[name], other[name]) for name in base if not trained(name) and "mean" not in name)


@pytest.mark.parametrize("kind", ["video_pose", "video_audio"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ranks_hold_what_was_planned(kind: str, strategy: str, runs: SimpleNamespace):
    words = [*runs.words(kind, strategy, RANKS), f"stage=mmgt.{kind}"]
    assert_planned(runs.folder / f"{kind}-{strategy}", words, strategy, RANKS)
