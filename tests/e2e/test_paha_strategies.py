"""UniVDM and a classifier of pairs on two ranks: every strategy gives one curve, and holds what was planned."""

import json
from types import SimpleNamespace

import pytest

from preprocessing.negatives.options import Options
from preprocessing.negatives.run import make_negatives
from tests.autoencoders import save_autoencoder
from tests.e2e.strategies import PAHA, assert_one_curve, assert_planned, train_all
from tests.trainers.paha_stages import LENGTHS, PCE
from tests.trainers.test_univdm_stage import NETWORK
from tests.trainers.video_stages import latent_shards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

STRATEGIES = ("ddp", "fsdp", "deepspeed_2", "deepspeed_3")
KINDS = tuple(PAHA)
RANKS, BATCH = 2, 4
# Sums over ranks and over flattened parameters add up in another order: units of the last place of float32, 1e-7, and
# what four steps make of them.
TOLERANCE = 1e-5
COMMON = (
    "data=clips", "data.workers=0", "trainer.accelerator=cpu", "trainer.max_steps=4", "trainer.log_every_n_steps=1",
    "trainer.val_check_interval=2", "trainer.check_val_every_n_epoch=null", "trainer.enable_progress_bar=false",
    "trainer.gradient_clip_val=0.05", "checkpoint.every_n_steps=2", "samples.count=0", "ema.decay=0.8",
    "ema.every_n_steps=1", "stage.optimizer={name: adam, lr: 1.0e-3}",
)  # fmt: skip
FIGURES = {"univdm": ("train/loss", "val/loss", "val/rmse"), "pce_face": ("train/loss", "val/loss", "val/auc")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Runs by one process, and by two; the pairs are made by the first."""
    folder = tmp_path_factory.mktemp("paha")
    vae = save_autoencoder(folder / "vae")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSPEECH_CACHE", str(folder / "cache"))
        shards = latent_shards(folder, vae, seconds=0.92)
    own = {
        "univdm": [f"stage.autoencoder={vae}", f"data.shards={shards}", "data.window=8", "data.stride=0.2"]
        + [f"stage.network.{name}={json.dumps(value)}" for name, value in NETWORK.items()],
        # In one length and with the paper's negatives the mean over two ranks is that over both.
        "pce_face": [f"stage.univdm={folder / 'univdm-auto'}", f"data.shards={folder / 'pairs'}", "data.windows=clip"]
        + [f"stage.network.{name}={json.dumps(value)}" for name, value in PCE["network"].items()]
        + ["stage.lengths=[4]"],
    }

    def one(kind: str, strategy: str, ranks: int) -> list[str]:
        return [
            f"stage={PAHA[kind] if ranks > 1 else f'paha.{kind}'}", *own[kind], *COMMON, f"strategy={strategy}",
            f"run={folder / f'{kind}-{strategy}'}", f"trainer.devices={ranks}", f"data.batch_size={BATCH // ranks}",
        ]  # fmt: skip

    train_all(folder, "univdm-alone", [one("univdm", "auto", 1)])
    make_negatives(
        Options(
            run=str(folder / "univdm-auto"), input=str(shards), output=str(folder / "pairs"), lengths=LENGTHS,
            pairs_per_clip=2, progress=False, device="cpu",
        )
    )  # fmt: skip
    train_all(folder, "pce-alone", [one("pce_face", "auto", 1)])
    train_all(folder, "ranks", [one(kind, strategy, RANKS) for kind in KINDS for strategy in STRATEGIES])
    return SimpleNamespace(folder=folder, words=one)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks_are_one_process_with_twice_the_batch(kind: str, strategy: str, runs: SimpleNamespace):
    assert_one_curve(runs.folder, kind, strategy, FIGURES[kind], TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ranks_hold_what_was_planned(kind: str, strategy: str, runs: SimpleNamespace):
    words = [*runs.words(kind, strategy, RANKS), f"stage=paha.{kind}"]
    assert_planned(runs.folder / f"{kind}-{strategy}", words, strategy, RANKS)
