"""Steps are counted one a batch wherever they are shown, also where a batch makes a step of each of two optimisers."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.trainers.runs import rows, toy_run
from trainers.callbacks.guard import LossGuard
from trainers.run.checkpoints import STEPS, names_count_batches, newest_first, read
from trainers.run.errors import LossLost

GAN: dict[str, Any] = {"stage": {"name": "toy_gan"}, "checkpoint": {"every_n_steps": 4, "keep_last": 0}}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_run(tmp_path_factory.mktemp("unbroken") / "run", **GAN, trainer={"max_steps": 24})


def names(folder: Path) -> list[str]:
    return [path.name for path in newest_first(folder / "checkpoints")[::-1]]


def as_before(path: Path) -> None:
    """A checkpoint as it was when names counted the steps of both optimisers."""
    checkpoint = read(path)
    del checkpoint["callbacks"]["Checkpoints"][STEPS]
    torch.save(checkpoint, path.with_name(f"step-{checkpoint['global_step']:08d}.ckpt"))
    path.unlink()


def test_names_of_checkpoints_are_the_steps_of_the_table(unbroken: Path) -> None:
    assert names(unbroken) == [f"step-{step:08d}.ckpt" for step in (2, 4, 6, 8, 10, 12)]
    assert rows(unbroken)[-1]["step"] == 11
    assert read(unbroken / "checkpoints" / "step-00000012.ckpt")["global_step"] == 24
    assert (unbroken / "checkpoints" / "last.ckpt").resolve().name == "step-00000012.ckpt"


def test_a_run_of_new_names_goes_on(unbroken: Path, tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run", **GAN, trainer={"max_steps": 16})
    assert rows(toy_run(run, **GAN, trainer={"max_steps": 24})) == rows(unbroken)
    assert names(run) == names(unbroken)


def test_a_run_of_old_names_goes_on_from_its_newest_and_has_new_ones_then(
    unbroken: Path, tmp_path: Path, logged: None, caplog: pytest.LogCaptureFixture
) -> None:
    run = toy_run(tmp_path / "run", **GAN, trainer={"max_steps": 16})
    for path in newest_first(run / "checkpoints"):
        as_before(path)
    last = run / "checkpoints" / "last.ckpt"
    last.unlink()
    last.symlink_to("step-00000016.ckpt")
    (run / "samples" / "step-00000016_clip.mp4").write_bytes(b"video")
    assert names(run) == [f"step-{step:08d}.ckpt" for step in (4, 8, 12, 16)]
    assert names_count_batches(run / "checkpoints") is False
    with caplog.at_level(logging.INFO):
        toy_run(run, **GAN, trainer={"max_steps": 24})
    assert "step-00000016.ckpt is renamed to step-00000008.ckpt" in caplog.text
    assert rows(run) == rows(unbroken)
    assert names(run) == names(unbroken)
    assert last.resolve().name == "step-00000012.ckpt"
    assert [path.name for path in (run / "samples").iterdir()] == ["step-00000008_clip.mp4"]


def test_another_run_may_begin_from_a_checkpoint_of_an_old_name(unbroken: Path, tmp_path: Path) -> None:
    run = toy_run(tmp_path / "old", **GAN, trainer={"max_steps": 16})
    as_before(run / "checkpoints" / "step-00000008.ckpt")
    source = str(run / "checkpoints" / "step-00000016.ckpt")
    repeated = toy_run(tmp_path / "run", **GAN, trainer={"max_steps": 24}, resume=source)
    assert rows(repeated) == [row for row in rows(unbroken) if row["step"] >= 8]
    assert names(repeated) == [f"step-{step:08d}.ckpt" for step in (10, 12)]


def test_a_lost_loss_is_told_with_its_batch() -> None:
    trainer = SimpleNamespace(global_step=600, optimizers=[None, None], precision="32-true")
    stage = SimpleNamespace(losses={"network": torch.tensor(float("nan"))})
    with pytest.raises(LossLost, match=r"^step 300: the loss is nan"):
        LossGuard().on_train_batch_end(trainer, stage, None, None, 0)  # type: ignore[arg-type]
