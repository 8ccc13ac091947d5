"""Checkpoints that are damaged, dangerous, or do not fit."""

import os
import pickle
import resource
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from settings import ConfigError
from tests.trainers.runs import rows, toy_run
from tests.trainers.toy import ToyNetwork
from trainers.run.checkpoints import AtomicCheckpointIO, damage, init_from, newest_first, newest_whole, read
from trainers.run.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("logged")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_run(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    """One bit of a tensor changes; the file keeps its form."""
    with zipfile.ZipFile(path) as archive:
        biggest = max(archive.infolist(), key=lambda part: part.file_size)
        inside = biggest.header_offset + 64 + biggest.file_size // 2
    data = bytearray(path.read_bytes())
    data[inside] ^= 1
    path.write_bytes(data)


def test_last_three_are_kept_and_last_is_the_newest(finished: Path) -> None:
    names = [path.name for path in newest_first(finished / "checkpoints")]
    assert names == ["step-00000008.ckpt", "step-00000006.ckpt", "step-00000004.ckpt"]
    assert (finished / "checkpoints" / "last.ckpt").resolve().name == names[0]
    assert (finished / "checkpoints" / "best.ckpt").exists()
    assert all(damage(path) is None for path in newest_first(finished / "checkpoints"))


@pytest.mark.parametrize("hurt", [cut, empty, flip])
def test_damaged_newest_falls_back_to_the_one_before(
    folder: Path, finished: Path, hurt: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    newest, before = newest_first(folder / "checkpoints")[:2]
    hurt(newest)
    toy_run(folder)
    assert f"{newest} is damaged" in caplog.text
    assert f"resuming from {before}" in caplog.text
    assert rows(folder) == rows(finished)
    assert damage(newest) is None  # written anew


def test_all_damaged_is_an_error(folder: Path) -> None:
    for path in (folder / "checkpoints").glob("*.ckpt"):
        empty(path)
    with pytest.raises(CheckpointError, match=r"all checkpoints .* are damaged"):
        newest_whole(folder / "checkpoints")


class Dangerous:
    def __reduce__(self) -> tuple:
        return os.system, ("touch dangerous-code-ran",)


def test_code_in_a_checkpoint_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = folder / "checkpoints" / "step-00000009.ckpt"
    torch.save({"state_dict": {}, "global_step": 9, "more": Dangerous()}, path)
    plain = tmp_path / "plain.ckpt"
    plain.write_bytes(pickle.dumps(Dangerous()))
    for bad in (path, plain):
        with pytest.raises(CheckpointError, match="refused"):
            read(bad)
    with pytest.raises(CheckpointError, match="refused"):
        toy_run(folder)
    with pytest.raises(CheckpointError, match="refused"):
        init_from(ToyNetwork(), plain)
    assert not (tmp_path / "dangerous-code-ran").exists()


def test_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    good, new = tmp_path / "step-00000001.ckpt", tmp_path / "step-00000002.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"weights": torch.zeros(10)}, good)
    # A limit on file sizes fails in the middle of the file, as a full disk does.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CheckpointError) as caught:
            writer.save_checkpoint({"weights": torch.zeros(1_000_000)}, new)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert str(new) in str(caught.value)
    assert "File too large" in str(caught.value)
    assert f"whole: {good.name}" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [good.name]
    assert newest_whole(tmp_path) == good


def test_init_from_lists_what_does_not_match(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    wider = ToyNetwork(width=5)
    before = wider.inner.weight.clone()
    differences = init_from(wider, folder)
    assert differences["shape"] == [
        "inner.weight (8, 3) -> (5, 3)",
        "inner.bias (8,) -> (5,)",
        "outer.weight (3, 8) -> (3, 5)",
    ]
    assert torch.equal(wider.inner.weight, before)
    exported = ToyNetwork.from_pretrained(folder / "export")
    assert torch.equal(wider.outer.bias, exported.outer.bias)
    assert "inner.weight (8, 3) -> (5, 3)" in caplog.text

    other = torch.nn.ModuleDict({"outer": torch.nn.Linear(8, 3), "new": torch.nn.Linear(2, 2)})
    differences = init_from(other, folder / "export")
    assert differences["missing"] == ["new.weight", "new.bias"]
    assert differences["unexpected"] == ["mean", "inner.weight", "inner.bias"] or set(differences["unexpected"]) == {
        "mean",
        "inner.weight",
        "inner.bias",
    }


@pytest.mark.parametrize("what", ["export", "export/model.safetensors", "checkpoints/step-00000008.ckpt", ""])
def test_init_from_takes_averaged_weights_of_any_source(folder: Path, what: str) -> None:
    network = ToyNetwork()
    assert init_from(network, folder / what) == {"missing": [], "unexpected": [], "shape": []}
    exported = ToyNetwork.from_pretrained(folder / "export")
    for name, value in network.state_dict().items():
        assert torch.equal(value, exported.state_dict()[name]), name


def test_init_from_something_else_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no weight of .* fits"):
        init_from(torch.nn.Linear(2, 2), folder)
    with pytest.raises(ConfigError, match="found no weights"):
        init_from(ToyNetwork(), tmp_path / "nothing")


def test_named_steps_are_written_and_kept_beside_the_last(tmp_path):
    options = {"every_n_steps": 2, "keep_last": 2, "keep_steps": [3, 4]}
    run = toy_run(tmp_path / "run", checkpoint=options)
    names = sorted(path.name for path in (run / "checkpoints").glob("step-*.ckpt"))
    assert names == [f"step-{step:08d}.ckpt" for step in (3, 4, 6, 8)]
    again = toy_run(run, checkpoint=options, trainer={"max_steps": 11})
    names = sorted(path.name for path in (again / "checkpoints").glob("step-*.ckpt"))
    assert names == [f"step-{step:08d}.ckpt" for step in (3, 4, 10, 11)]
