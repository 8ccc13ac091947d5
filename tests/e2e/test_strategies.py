"""Every strategy computes the same thing, and goes on from what any other has saved."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.processes import run
from tests.e2e.strategies import GAN, SHARDED, STRATEGIES, clips, curve, train
from trainers.checkpoints import read, read_state

# Sums over ranks and over flattened parameters add up in another order: some units of the last place of float32 at
# first, and what training makes of them in eight steps.
TOLERANCE = 2e-6

# Clipping bites (norms are about 0.7), gradients are added up over two batches, blocks are computed twice.
WORDS = (
    "trainer.max_steps=8", "trainer.gradient_clip_val=0.3", "trainer.accumulate_grad_batches=2",
    "gradient_checkpointing=true", "checkpoint.every_n_steps=4", "ema.decay=0.8",
)  # fmt: skip


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips(tmp_path_factory.mktemp("strategies") / "shards")


@pytest.fixture(scope="session")
def alone(shards: Path) -> Path:
    """One process with the batch of two."""
    out = shards.parent / "alone"
    train(out, shards, "auto", 1, *WORDS)
    return out


def assert_same(out: Path, reference: Path, after: int = -1, *names: str) -> None:
    """Figures of a run, from a step on, are the reference's."""
    expected = {key: value for key, value in curve(reference, *names).items() if key[0] > after}
    found = {key: value for key, value in curve(out, *names).items() if key[0] > after}
    assert found.keys() == expected.keys()
    wrong = {key: (found[key], expected[key]) for key in expected if abs(found[key] - expected[key]) > TOLERANCE * 4}
    assert expected
    assert not wrong


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "export" / "model.safetensors")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks_are_one_process_with_twice_the_batch(strategy: str, shards: Path, alone: Path, tmp_path: Path):
    out = tmp_path / "run"
    train(out, shards, strategy, 2, *WORDS)
    assert_same(out, alone)
    # Validation ran on averages; the export holds them.
    exported, expected = weights(out), weights(alone)
    assert exported.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(exported[name], expected[name], rtol=0, atol=2e-6, msg=name)
    checkpoint = out / "checkpoints" / "step-00000004.ckpt"
    assert checkpoint.is_dir() == (strategy in SHARDED)
    if strategy not in SHARDED:
        return
    # In the middle of it, from pieces of two ranks: another strategy alone, and this one again.
    other = "auto" if strategy in ("deepspeed_1", "deepspeed_3") else "deepspeed_3"
    for name, ranks in ((other, 1), (strategy, 2)):
        again = tmp_path / f"{name}-{ranks}"
        train(again, shards, name, ranks, *WORDS, f"resume={checkpoint}")
        assert_same(again, alone, after=3)
    export = run("trainers.export", f"run={out}", f"checkpoint={checkpoint}", f"out={tmp_path / 'half'}")
    assert export.returncode == 0, export.stderr
    half = load_file(tmp_path / "half" / "model.safetensors")
    whole = read(alone / "checkpoints" / "step-00000004.ckpt")["callbacks"]["EMA"]["averages"]
    for name, average in whole.items():
        torch.testing.assert_close(half[name], average, rtol=0, atol=2e-6, msg=name)


def test_one_file_goes_on_in_pieces(shards: Path, alone: Path, tmp_path: Path):
    for strategy in ("fsdp", "deepspeed_2"):
        out = tmp_path / strategy
        train(out, shards, strategy, 2, *WORDS, f"resume={alone / 'checkpoints' / 'step-00000004.ckpt'}")
        assert_same(out, alone, after=3)


@pytest.fixture(scope="session")
def gan_alone(shards: Path) -> Path:
    out = shards.parent / "gan"
    train(out, shards, "auto", 1, *GAN_WORDS, stage=GAN)
    return out


GAN_WORDS = ("trainer.max_steps=16", "trainer.gradient_clip_val=0.5", "checkpoint.every_n_steps=8")
GAN_FIGURES = ("train/loss", "train/discriminator", "val/loss", "train/grad_norm_1")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_optimisers(strategy: str, shards: Path, gan_alone: Path, tmp_path: Path):
    out = tmp_path / "run"
    train(out, shards, strategy, 2, *GAN_WORDS, stage=GAN)
    assert_same(out, gan_alone, -1, *GAN_FIGURES)
    checkpoint = out / "checkpoints" / "step-00000008.ckpt"
    held = read(checkpoint)
    assert not [name for name in held["state_dict"] if "judge" in name], "what is frozen is in no checkpoint"
    assert [len(names) for names in held["parameters"]] == [4, 4]
    assert len(held["optimizer_states"][1]["state"]) == 4
    again = tmp_path / "again"
    train(
        again, shards, "auto" if strategy != "ddp" else "deepspeed_3", 1, *GAN_WORDS, f"resume={checkpoint}", stage=GAN
    )
    assert_same(again, gan_alone, 3, *GAN_FIGURES)


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_3"])
def test_bf16_is_autocast_with_every_strategy(strategy: str, shards: Path, tmp_path: Path):
    words = ("trainer.max_steps=4", "trainer.precision=bf16-mixed", "checkpoint.every_n_steps=4")
    train(tmp_path / "ddp", shards, "ddp", 2, *words)
    train(tmp_path / "sharded", shards, strategy, 2, *words)
    expected, found = curve(tmp_path / "ddp", "train/loss"), curve(tmp_path / "sharded", "train/loss")
    exact = curve(tmp_path / "ddp", "train/loss")
    assert found.keys() == expected.keys()
    # bf16 has 8 bits: gathering weights in it rounds them where autocast would.
    assert max(abs(found[key] - expected[key]) for key in expected) < 2e-3
    assert exact
    kept = read(tmp_path / "sharded" / "checkpoints" / "step-00000004.ckpt")
    assert {t.dtype for n, t in kept["state_dict"].items() if n.endswith("weight")} == {torch.float32}


@pytest.mark.parametrize(
    ("strategy", "offload"), [("deepspeed_2", "optimizer"), ("deepspeed_3", "all"), ("fsdp", "all")]
)
def test_offload(strategy: str, offload: str, shards: Path, alone: Path, tmp_path: Path):
    train(tmp_path / "run", shards, strategy, 2, *WORDS, f"strategy.offload={offload}")
    assert_same(tmp_path / "run", alone)


def test_what_a_strategy_cannot_do_stops_at_once(shards: Path, tmp_path: Path):
    for words, said in (
        (("strategy=fsdp", "strategy.offload=optimizer"), "use strategy.offload=all"),
        (("strategy=deepspeed_1", "strategy.offload=all"), "use deepspeed_3"),
        (("strategy=ddp", "trainer.precision=16-mixed"), "fp16 does not exist on a CPU"),
        (("strategy=deepspeed_2", "trainer.precision=bf16-true"), "takes 32-true"),
        (
            ("strategy=deepspeed_2", "trainer.gradient_clip_val=1", "trainer.gradient_clip_algorithm=value"),
            "clips by norm",
        ),
        (("strategy=ddp", "stage=toy_gan", "trainer.accumulate_grad_batches=2"), "several optimisers"),
    ):
        out = tmp_path / "run"
        done = train(out, shards, "ddp", 2, "trainer.max_steps=2", *words, fails=True)
        assert done.returncode == 2, done.stderr[-2000:]
        assert said in done.stderr
        assert not out.exists()


def test_a_checkpoint_of_another_network_is_refused(shards: Path, alone: Path, tmp_path: Path):
    checkpoint = alone / "checkpoints" / "step-00000004.ckpt"
    words = (*WORDS, f"resume={checkpoint}", "stage.width=32")
    done = train(tmp_path / "run", shards, "fsdp", 2, *words, fails=True)
    assert done.returncode != 0
    assert "another network" in done.stderr
    assert read_state(checkpoint)["global_step"] == 4
