"""Every strategy computes the same thing, and goes on from what any other has saved."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.strategies import GAN, SHARDED, SMGA, STRATEGIES, clips, curve, train, train_all, words
from tests.trainers.toy import register
from trainers.export import main as export
from trainers.fit import main
from trainers.run.checkpoints import read, read_state
from trainers.stage.adan import STATE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

# Sums over ranks and over flattened parameters add up in another order: some units of the last place of float32 at
# first, and what training makes of them in eight steps.
TOLERANCE = 8e-6

# Clipping bites (norms are about 0.7), gradients are added up over two batches, blocks are computed twice.
PLAIN = (
    "trainer.max_steps=8", "trainer.gradient_clip_val=0.3", "trainer.accumulate_grad_batches=2",
    "gradient_checkpointing=true", "checkpoint.every_n_steps=4", "ema.decay=0.8",
)  # fmt: skip
# Two optimisers: sixteen steps are eight batches.
TWO = ("trainer.max_steps=16", "trainer.gradient_clip_val=0.5", "checkpoint.every_n_steps=8")
TWO_FIGURES = ("train/loss", "train/discriminator", "val/loss", "train/grad_norm_1")
HALF = ("trainer.max_steps=4", "trainer.precision=bf16-mixed", "checkpoint.every_n_steps=4")
OFFLOADED = (("deepspeed_2", "optimizer"), ("deepspeed_3", "all"), ("fsdp", "all"))


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: by one process, then by two, then by one again from what two have saved."""
    folder = tmp_path_factory.mktemp("strategies")
    shards = clips(folder / "shards")

    def one(name: str, strategy: str, *more: str, stage: tuple[str, ...] | None = None) -> list[str]:
        return words(folder / name, shards, strategy, 1, *more, **({"stage": stage} if stage else {}))

    def two(name: str, strategy: str, *more: str, stage: tuple[str, ...] | None = None) -> list[str]:
        return words(folder / name, shards, strategy, 2, *more, **({"stage": stage} if stage else {}))

    train_all(folder, "first", [one("alone", "auto", *PLAIN), one("gan", "auto", *TWO, stage=GAN)])
    single = f"resume={folder / 'alone' / 'checkpoints' / 'step-00000004.ckpt'}"
    train_all(
        folder,
        "second",
        [two(s, s, *PLAIN) for s in STRATEGIES]
        + [two(f"{s}-again", s, *PLAIN, resume(folder, s, 4)) for s in SHARDED]
        + [two(f"{s}-from-one-file", s, *PLAIN, single) for s in ("fsdp", "deepspeed_2")]
        + [two("ddp-from-pieces", "ddp", *PLAIN, resume(folder, "deepspeed_3", 4))]
        + [two(f"{s}-gan", s, *TWO, stage=GAN) for s in STRATEGIES]
        + [two(f"{s}-half", s, *HALF) for s in ("ddp", "fsdp", "deepspeed_3")]
        + [two(f"{s}-offloaded", s, *PLAIN, f"strategy.offload={offload}") for s, offload in OFFLOADED],
    )
    train_all(
        folder,
        "third",
        [one(f"{s}-alone", OTHER[s], *PLAIN, resume(folder, s, 4)) for s in SHARDED]
        + [one(f"{s}-gan-alone", OTHER[s], *TWO, resume(folder, f"{s}-gan", 4), stage=GAN) for s in STRATEGIES],
    )
    return folder


# What goes on alone from what two ranks have saved.
OTHER = {
    "ddp": "deepspeed_3",
    "fsdp": "deepspeed_3",
    "deepspeed_1": "auto",
    "deepspeed_2": "fsdp",
    "deepspeed_3": "auto",
}


def resume(folder: Path, name: str, step: int) -> str:
    return f"resume={folder / name / 'checkpoints' / f'step-{step:08d}.ckpt'}"


def assert_same(out: Path, reference: Path, *names: str, after: int = -1) -> None:
    """Figures of a run, from a step on, are the reference's."""
    expected = {key: value for key, value in curve(reference, *names).items() if key[0] > after}
    found = {key: value for key, value in curve(out, *names).items() if key[0] > after}
    assert expected
    assert found.keys() == expected.keys()
    wrong = {key: (found[key], expected[key]) for key in expected if abs(found[key] - expected[key]) > TOLERANCE}
    assert not wrong


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks_are_one_process_with_twice_the_batch(strategy: str, runs: Path):
    assert_same(runs / strategy, runs / "alone")
    for name in (strategy, "alone"):  # Adan over lists of tensors: of whole ones, of FSDP's rows, of ZeRO's flat pieces
        kept = read(runs / name / "checkpoints" / "step-00000008.ckpt")["optimizer_states"][0]
        assert all(set(STATE) <= state.keys() for state in kept["state"].values()), name


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_averages_are_exported(strategy: str, runs: Path):
    exported, expected = (load_file(runs / name / "export" / "model.safetensors") for name in (strategy, "alone"))
    own = read(runs / "alone" / "checkpoints" / "step-00000008.ckpt")["state_dict"]
    assert exported.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(exported[name], expected[name], rtol=0, atol=2e-6, msg=name)
    assert any(not torch.allclose(exported[name], own[f"network.{name}"], atol=1e-4) for name in exported)


@pytest.mark.parametrize("strategy", SHARDED)
def test_checkpoints_in_pieces_go_on_with_any_strategy_and_number_of_ranks(strategy: str, runs: Path):
    assert (runs / strategy / "checkpoints" / "step-00000004.ckpt").is_dir()
    for name in (f"{strategy}-again", f"{strategy}-alone"):
        assert_same(runs / name, runs / "alone", after=3)


@pytest.mark.parametrize("name", ["fsdp-from-one-file", "deepspeed_2-from-one-file", "ddp-from-pieces"])
def test_one_file_and_pieces_go_on_as_each_other(name: str, runs: Path):
    assert_same(runs / name, runs / "alone", after=3)


@pytest.mark.parametrize("strategy", SHARDED)
def test_any_checkpoint_is_exported(strategy: str, runs: Path, tmp_path: Path):
    checkpoint = runs / strategy / "checkpoints" / "step-00000004.ckpt"
    assert export([f"run={runs / strategy}", f"checkpoint={checkpoint}", f"out={tmp_path / 'half'}"]) == 0
    exported = load_file(tmp_path / "half" / "model.safetensors")
    averages = read(runs / "alone" / "checkpoints" / "step-00000004.ckpt")["callbacks"]["EMA"]["averages"]
    assert averages
    for name, average in averages.items():
        torch.testing.assert_close(exported[name], average, rtol=0, atol=2e-6, msg=name)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_optimisers(strategy: str, runs: Path):
    assert_same(runs / f"{strategy}-gan", runs / "gan", *TWO_FIGURES)
    assert_same(runs / f"{strategy}-gan-alone", runs / "gan", *TWO_FIGURES, after=3)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_frozen_is_in_no_checkpoint(strategy: str, runs: Path):
    held = read(runs / f"{strategy}-gan" / "checkpoints" / "step-00000004.ckpt")
    assert not [name for name in held["state_dict"] if "judge" in name]
    assert [len(names) for names in held["parameters"]] == [4, 4]
    assert [len(optimizer["state"]) for optimizer in held["optimizer_states"]] == [4, 4]
    exported = load_file(runs / f"{strategy}-gan" / "export" / "model.safetensors")
    assert "judge.0.weight" in exported, "a saved network is whole"


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_3"])
def test_bf16_is_autocast_with_every_strategy(strategy: str, runs: Path):
    expected, found = curve(runs / "ddp-half", "train/loss"), curve(runs / f"{strategy}-half", "train/loss")
    full = curve(runs / "ddp", "train/loss")
    assert found.keys() == expected.keys()
    # bf16 has 8 bits: weights are gathered in it, rounded as autocast rounds them.
    assert max(abs(found[key] - expected[key]) for key in expected) < 2e-3
    assert found[0, "train/loss"] != full[0, "train/loss"]
    kept = read(runs / f"{strategy}-half" / "checkpoints" / "step-00000004.ckpt")
    assert {t.dtype for n, t in kept["state_dict"].items() if n.endswith("weight")} == {torch.float32}


@pytest.mark.parametrize(("strategy", "offload"), OFFLOADED)
def test_offload(strategy: str, offload: str, runs: Path):
    assert_same(runs / f"{strategy}-offloaded", runs / "alone")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["strategy=fsdp", "strategy.offload=optimizer"], "use strategy.offload=all"),
        (["strategy=deepspeed_1", "strategy.offload=all"], "use deepspeed_3"),
        (["strategy=ddp", "trainer.precision=16-mixed"], "fp16 does not exist on a CPU"),
        (["strategy=deepspeed_2", "trainer.precision=bf16-true"], "use bf16-mixed"),
        (["strategy=deepspeed_2", "trainer.gradient_clip_val=1", "trainer.gradient_clip_algorithm=value"], "by norm"),
        (["trainer.accumulate_grad_batches=2"], "several optimisers"),
        (["strategy=deepspeed_3", "compile.enabled=true"], "use deepspeed_2 or fsdp"),
    ],
)
def test_what_a_strategy_cannot_do_stops_at_once(
    more: list[str], said: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    register()  # whatever ran before in this process
    out = tmp_path / "run"
    stage = GAN if "optimisers" in said else SMGA
    assert main(words(out, runs / "shards", "ddp", 2, "trainer.max_steps=2", *more, stage=stage)) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_checkpoint_of_another_network_is_refused(runs: Path, tmp_path: Path):
    checkpoint = runs / "alone" / "checkpoints" / "step-00000004.ckpt"
    done = train(tmp_path / "run", runs / "shards", "fsdp", 1, *PLAIN, f"resume={checkpoint}", "stage.network.width=32")
    assert done.returncode == 2
    assert "the network of the checkpoint was made with the old value" in done.stderr
    assert read_state(checkpoint)["global_step"] == 4
