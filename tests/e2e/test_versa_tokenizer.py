"""The tokenizer as real trainings: one codebook on all ranks of every strategy, and runs that go on from the middle."""

import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.strategies import COMMON, curve, train_all
from tests.motions import write_motion_shards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STRATEGIES = ("ddp", "fsdp", "deepspeed_2", "deepspeed_3")
STEPS = 6
STAGE = (
    "stage=watched_tokenizer", "stage.network.codes=24", "stage.network.code_width=8", "stage.network.width=16",
    "stage.network.depth=2",
    "stage.network.decay=0.8", "stage.network.reset_below=0.3", "stage.optimizer.lr=2e-3", "data.windows=random",
    "data.windows_per_clip=2", f"trainer.max_steps={STEPS}", "trainer.gradient_clip_val=0.5", "ema.decay=0.8",
    "trainer.accumulate_grad_batches=2", "checkpoint.every_n_steps=3",
)  # fmt: skip
# Sums over ranks add up in another order. Codes are means of latents, as far off as the encoder's weights by then.
TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: by one process, by two, and by some that go on from the middle."""
    folder = tmp_path_factory.mktemp("versa_tokenizer")
    shards = write_motion_shards(
        folder / "shards", clips=12, per_shard=4, seconds=[1.2, 2.0], splits=("train", "train", "val")
    )

    def words(name: str, ranks: int, *more: str) -> list[str]:
        return [
            *STAGE, *COMMON, f"run={folder / name}", f"data.shards={shards}", f"trainer.devices={ranks}",
            f"data.batch_size={4 // ranks}", *more,
        ]  # fmt: skip

    def middle(name: str) -> str:
        return f"resume={folder / name / 'checkpoints' / 'step-00000003.ckpt'}"

    train_all(folder, "one", [words("alone", 1), words("again", 1, middle("alone"))])
    two = [words(strategy, 2, f"strategy={strategy}") for strategy in STRATEGIES]
    train_all(folder, "two", [*two, words("fsdp-again", 2, "strategy=fsdp", middle("deepspeed_3"))])
    return folder


def codebooks(folder: Path, rank: int = 0) -> list[dict[str, torch.Tensor]]:
    return torch.load(folder / f"codebook-{rank}.pt")


@pytest.mark.paper("VA-4")
@pytest.mark.parametrize("name", [*STRATEGIES, "fsdp-again"])
def test_ranks_hold_one_codebook_to_the_bit_at_every_step(runs: Path, name: str):
    first, second = codebooks(runs / name), codebooks(runs / name, 1)
    assert len(first) == len(second) == (2 * STEPS if name in STRATEGIES else STEPS)
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in ("codebook", "sizes", "sums"))
    moved = [not torch.equal(a["codebook"], b["codebook"]) for a, b in itertools.pairwise(first)]
    assert moved == [step % 2 == 0 for step in range(len(first) - 1)], "once for the two batches of a step"


@pytest.mark.paper("VA-4")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks_are_one_process_with_twice_the_batch(runs: Path, strategy: str):
    names = ("train/loss", "val/loss", "val/code_use", "train/codes_reset")
    expected, found = curve(runs / "alone", *names), curve(runs / strategy, *names)
    assert len(expected) > 2 * STEPS
    assert found == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)
    for one, other in zip(codebooks(runs / "alone"), codebooks(runs / strategy), strict=True):
        torch.testing.assert_close(other["codebook"], one["codebook"], rtol=1e-2, atol=1e-3)


@pytest.mark.paper("VA-4")
def test_a_run_that_goes_on_from_the_middle_ends_as_the_unbroken_one(runs: Path):
    names = ("train/loss", "train/perplexity", "train/codes_reset", "val/loss", "val/code_use")
    wanted, found = (
        {key: value for key, value in curve(runs / name, *names).items() if key[0] >= 3} for name in ("alone", "again")
    )
    assert len(wanted) > 9
    assert found == wanted
    one, other = (load_file(runs / name / "export" / "model.safetensors") for name in ("alone", "again"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_strategy_goes_on_from_the_codebook_that_was_saved(runs: Path):
    whole, rest = codebooks(runs / "deepspeed_3"), codebooks(runs / "fsdp-again")
    for one, other in zip(whole[STEPS:], rest, strict=True):
        torch.testing.assert_close(other["codebook"], one["codebook"], rtol=1e-2, atol=1e-3)
    exported = load_file(runs / "fsdp-again" / "export" / "model.safetensors")
    assert torch.equal(exported["quantizer.codebook"], rest[-1]["codebook"])
