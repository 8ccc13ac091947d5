"""Checkpoints in pieces: written whole or not at all, read by anybody, damage noticed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from trainers.engines.pieces import MANIFEST, STATE, Reader, Writer, key_of
from trainers.engines.state import SingleFile
from trainers.run.checkpoints import damage, newest_whole, read, remove
from trainers.run.errors import CheckpointError

WEIGHT = torch.arange(12.0)
SHAPES = {"network.weight": [4, 3]}
STATE_OF = {
    "callbacks": {"EMA": {"steps": 3}},
    "optimizer_groups": [[{"lr": 0.5, "params": ["network.weight"]}]],
    "global_step": 7,
}


def write(path: Path, cuts: tuple[int, ...] = (5,), state: dict[str, Any] = STATE_OF) -> Path:
    """A checkpoint by as many ranks as there are stretches of one weight, one after the other in this process."""
    bounds = [0, *cuts, 12]
    ranks = len(bounds) - 1
    writers = [Writer(path, rank, ranks, lambda value: [value]) for rank in range(ranks)]
    writers[0]._prepare()
    files = []
    for rank, writer in enumerate(writers):
        first, last = bounds[rank], bounds[rank + 1]
        pieces = {
            key_of("weight", "network.weight", first): WEIGHT[first:last],
            key_of("average", "network.weight", first): -WEIGHT[first:last],
            key_of("optimizer.0.exp_avg", "network.weight", first): WEIGHT[first:last] + 100,
            key_of("value.0.step", "network.weight", first): torch.tensor(7.0),
        }
        if rank == 0:
            pieces[key_of("buffer", "network.mean", 0)] = torch.ones(2, 2)
        name = f"rank-{rank:05d}-of-{ranks:05d}.safetensors"
        files.append(writer._write_file(name, lambda file, pieces=pieces: save_file(pieces, file)))
    writers[0]._finish(files, state, {"shapes": SHAPES})
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write(tmp_path / "step-00000007.ckpt")


@pytest.mark.parametrize("cuts", [(), (5,), (1, 2, 11)])
def test_any_stretch_is_read_whoever_wrote_it(tmp_path: Path, cuts: tuple[int, ...]):
    reader = Reader(write(tmp_path / "step-00000007.ckpt", cuts))
    for first in range(12):
        for count in range(13 - first):
            taken = reader.take("weight", "network.weight", first, count)
            assert taken is not None
            assert torch.equal(taken, WEIGHT[first : first + count])
    assert torch.equal(reader.take("buffer", "network.mean"), torch.ones(2, 2))  # type: ignore[arg-type]
    assert reader.take("weight", "network.other") is None


def test_it_is_read_as_one_and_taken_apart_again(checkpoint: Path):
    whole = read(checkpoint)
    assert torch.equal(whole["state_dict"]["network.weight"], WEIGHT.view(4, 3))
    assert torch.equal(whole["callbacks"]["EMA"]["averages"]["weight"], -WEIGHT.view(4, 3))
    (optimizer,) = whole["optimizer_states"]
    assert torch.equal(optimizer["state"][0]["exp_avg"], WEIGHT.view(4, 3) + 100)
    assert optimizer["state"][0]["step"] == 7
    assert optimizer["param_groups"] == [{"lr": 0.5, "params": [0]}]
    repeated = SingleFile(whole)
    assert torch.equal(repeated.take("optimizer.0.exp_avg", "network.weight", 5, 3), WEIGHT[5:8] + 100)  # type: ignore[arg-type]
    assert torch.equal(repeated.take("average", "network.weight", 0, 2), -WEIGHT[:2])  # type: ignore[arg-type]
    assert repeated.state()["optimizer_groups"] == STATE_OF["optimizer_groups"]


def test_a_file_that_names_no_parameters_is_refused():
    old = {"state_dict": {"network.weight": WEIGHT}, "optimizer_states": [{"state": {}, "param_groups": []}]}
    with pytest.raises(CheckpointError, match="strategy=auto"):
        SingleFile(old)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda c: os.truncate(c / "rank-00001-of-00002.safetensors", 40), "missing or cut off"),
        (lambda c: (c / "rank-00000-of-00002.safetensors").unlink(), "missing or cut off"),
        (lambda c: flip(c / "rank-00001-of-00002.safetensors"), "fails the checksum"),
        (lambda c: flip(c / STATE), "fails the checksum"),
        (lambda c: (c / MANIFEST).unlink(), "missing or damaged"),
        (lambda c: (c / MANIFEST).write_text("{"), "missing or damaged"),
    ],
)
def test_damage_is_noticed_and_the_one_before_is_taken(
    tmp_path: Path, checkpoint: Path, harm: Callable[[Path], None], said: str
):
    before = write(tmp_path / "step-00000003.ckpt")
    assert newest_whole(tmp_path) == checkpoint
    harm(checkpoint)
    assert said in str(damage(checkpoint))
    assert newest_whole(tmp_path) == before
    assert newest_whole(tmp_path, thorough=False) == checkpoint


def test_a_gap_is_an_error(checkpoint: Path):
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    manifest["files"] = [file for file in manifest["files"] if "rank-00001" not in file["name"]]
    (checkpoint / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"lacks 7 of 12 elements of weight network\.weight"):
        Reader(checkpoint).take("weight", "network.weight")


def test_another_format_is_refused(checkpoint: Path):
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    (checkpoint / MANIFEST).write_text(json.dumps(manifest | {"version": 99}))
    with pytest.raises(CheckpointError, match="has format 99"):
        read(checkpoint)


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def test_code_in_it_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    bad = write(tmp_path / "step-00000007.ckpt", state={"bomb": Bomb()})
    with pytest.raises(CheckpointError, match="are refused"):
        read(bad)
    assert not (tmp_path / "exploded").exists()


def test_a_rank_that_cannot_write_fails_all_and_leaves_what_was_there(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    before = {file.name: file.read_bytes() for file in checkpoint.iterdir()}
    others: list[Any] = []

    def gather(value: Any) -> list[Any]:
        # The other rank has no room in the second step.
        others.append(value)
        return [value, (None, "rank 1: No space left on device" if len(others) == 2 else None)]

    with pytest.raises(CheckpointError, match="rank 1: No space left"):
        Writer(checkpoint, 0, 2, gather).write({}, {}, {"shapes": {}})
    assert {file.name: file.read_bytes() for file in checkpoint.iterdir()} == before
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_it_replaces_the_one_of_the_same_name_and_is_removed_whole(checkpoint: Path):
    write(checkpoint, cuts=())
    assert sorted(file.name for file in checkpoint.iterdir()) == [
        MANIFEST, "rank-00000-of-00001.safetensors", STATE,
    ]  # fmt: skip
    remove(checkpoint)
    assert not checkpoint.exists()
