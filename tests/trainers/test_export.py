"""A checkpoint to a saved network."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from settings import ConfigError
from tests.trainers.runs import toy_run
from tests.trainers.toy import ToyNetwork
from trainers.export import export, main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    every = {"every_n_steps": 4, "keep_last": 0}
    return toy_run(tmp_path_factory.mktemp("export") / "run", checkpoint=every)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_newest_checkpoint_gives_what_the_end_of_training_gave(folder: Path, tmp_path: Path) -> None:
    assert same(weights(export(run=folder, out=tmp_path / "out")), weights(folder / "export"))
    assert (tmp_path / "out" / "config.json").read_bytes() == (folder / "export" / "config.json").read_bytes()
    assert ToyNetwork.from_pretrained(tmp_path / "out").mean.item() == 0.5


def test_an_earlier_checkpoint_and_the_weights_themselves(folder: Path, tmp_path: Path) -> None:
    file = folder / "checkpoints" / "step-00000004.ckpt"
    state = torch.load(file, weights_only=True)
    averages = weights(export(run=folder, checkpoint=str(file), out=tmp_path / "averaged"))
    own = weights(export(run=folder, checkpoint=str(file), averaged=False, out=tmp_path / "own"))
    assert torch.equal(averages["outer.weight"], state["callbacks"]["EMA"]["averages"]["outer.weight"])
    assert torch.equal(own["outer.weight"], state["state_dict"]["network.outer.weight"])
    assert not torch.equal(own["outer.weight"], averages["outer.weight"])


def test_a_run_that_was_stopped_gets_its_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = toy_run(tmp_path / "run")
    before = weights(folder / "export")
    (folder / "export" / "model.safetensors").unlink()
    assert main(["--run", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "export")
    assert same(weights(folder / "export"), before)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--run", "nowhere"], "is no run folder"),
        (["checkpoint=best"], "best.ckpt"),
        (["checkpoint=other.ckpt"], "there is no other.ckpt"),
    ],
)
def test_what_is_missing_is_named(
    folder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "checkpoints" / "best.ckpt").unlink(missing_ok=True)
    assert main(words if "--run" in words else ["--run", str(folder), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_checkpoint_of_another_network_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"network.else": torch.zeros(1)}}, file)
    before = weights(folder / "export")
    assert main(["--run", str(folder), f"checkpoint={file}"]) == 2
    assert "does not fit" in capsys.readouterr().err
    assert same(weights(folder / "export"), before)


def test_a_damaged_checkpoint_is_an_error_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "damaged.ckpt"
    file.write_bytes(b"PK\x03\x04 nothing more")
    assert main(["--run", str(folder), f"checkpoint={file}"]) == 2
    assert "cannot read checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("kept", ["best", "last"])
def test_training_ends_with_the_network_of_the_last_step_or_of_the_best_validation(kept: str, tmp_path: Path) -> None:
    # The loss falls: by its greatest value the first validation is the best.
    run = toy_run(tmp_path / "run", checkpoint={"export": kept, "mode": "max", "keep_last": 0})
    written = weights(run / "export")
    best = weights(export(run=run, checkpoint="best", out=tmp_path / "best"))
    newest = weights(export(run=run, out=tmp_path / "newest"))
    assert not same(best, newest)
    assert same(written, best if kept == "best" else newest)


def test_the_best_of_nothing_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint\.export=best wants checkpoint\.monitor"):
        toy_run(tmp_path / "run", checkpoint={"export": "best", "monitor": None})
    assert not (tmp_path / "run").exists()
