"""Both steps of VersaAnimator's video diffusion on two ranks: one curve by every strategy, and what was planned."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.autoencoders import save_autoencoder
from tests.e2e.counted import VERSA
from tests.e2e.strategies import curve, train_all
from tests.e2e.test_planning import assert_near
from tests.trainers.versa_video_stages import options
from tests.trainers.video_stages import latent_shards
from trainers.plan import training_config
from trainers.planning.count import PARTS
from trainers.planning.inventory import inventory
from trainers.planning.measure import build_stage, measure
from trainers.planning.memory import memory

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STRATEGIES = ("ddp", "fsdp", "deepspeed_2", "deepspeed_3")
KINDS = tuple(VERSA)
RANKS, BATCH = 2, 4
TOLERANCE = 2e-5
FIGURES = ("train/loss", "val/loss", "val/rmse", "train/grad_norm")
COMMON = (
    "data=clips", "data.window=8", "data.stride=0.2", "data.workers=0", "trainer.accelerator=cpu",
    "trainer.max_steps=4", "trainer.log_every_n_steps=1", "trainer.val_check_interval=2",
    "trainer.check_val_every_n_epoch=null", "trainer.enable_progress_bar=false", "trainer.gradient_clip_val=0.05",
    "checkpoint.every_n_steps=2", "checkpoint.monitor=val/rmse", "samples.count=1", "ema.decay=0.8",
    "ema.every_n_steps=1", "stage.optimizer={name: adam, lr: 1.0e-3}",
)  # fmt: skip


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
            f"data.shards={shards}", *COMMON,
            *(f"stage.network.{name}={json.dumps(value)}" for name, value in sizes.items()),
            *([f"stage.base={folder / 'pose_video-auto'}"] if second else []), f"strategy={strategy}",
            f"run={folder / f'{kind}-{strategy}'}", f"trainer.devices={ranks}", f"data.batch_size={BATCH // ranks}",
        ]  # fmt: skip

    train_all(folder, "alone", [one(kind, "auto", 1) for kind in KINDS])
    for kind in KINDS:
        train_all(folder, kind, [one(kind, strategy, RANKS) for strategy in STRATEGIES])
    return SimpleNamespace(folder=folder, words=one)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks_are_one_process_with_twice_the_batch(kind: str, strategy: str, runs: SimpleNamespace):
    expected, found = (curve(runs.folder / f"{kind}-{each}", *FIGURES) for each in ("auto", strategy))
    assert {name for _, name in expected} == set(FIGURES)
    assert found.keys() == expected.keys()
    wrong = {key: (found[key], value) for key, value in expected.items() if abs(found[key] - value) > TOLERANCE}
    assert not wrong


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_exports_are_those_of_one_process(kind: str, strategy: str, runs: SimpleNamespace):
    one, other = (
        load_file(runs.folder / f"{kind}-{each}" / "export" / "model.safetensors") for each in ("auto", strategy)
    )
    assert one.keys() == other.keys()
    for name in one:
        # A bias that a norm takes away again has a gradient of rounding alone, by whose sign Adam takes whole steps.
        bound = 1e-4 if name.endswith(".bias") else 2e-5
        torch.testing.assert_close(other[name], one[name], rtol=0, atol=bound, msg=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ranks_hold_what_was_planned(kind: str, strategy: str, runs: SimpleNamespace):
    values = training_config(None, [*runs.words(kind, strategy, RANKS), f"stage=versa.{kind}"])
    found = inventory(build_stage(values["stage"]))
    expected = memory(values, found, measure(values, BATCH // RANKS), RANKS).gpu
    parts = [part for part in PARTS if not (strategy == "fsdp" and part == "buckets")]
    for rank in range(RANKS):
        counted = json.loads((runs.folder / f"{kind}-{strategy}" / f"held-{rank}.json").read_text())["bytes"]
        assert_near({part: counted[part] for part in parts}, expected, 4 * found.count)
