"""`from_pretrained` takes a run folder or an export, and says what else it was given."""

from pathlib import Path

import pytest
import torch

from models.human.autoencoder import PoseAutoencoder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    PoseAutoencoder().save_pretrained(folder / "export")
    (folder / "config.yaml").write_text("stage: {name: human.pose_autoencoder}\n")
    return folder


def test_a_run_folder_and_its_export_are_the_same_network(run: Path) -> None:
    one, other = PoseAutoencoder.from_pretrained(run), PoseAutoencoder.from_pretrained(str(run / "export"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda at: (at / "config.yaml").write_text("seed: 0"), "python -m trainers.export --run"),
        (lambda at: (at / "else").mkdir(), "neither a run folder nor an export"),
        (lambda at: at.rmdir(), "no such folder"),
        (lambda at: (at.rmdir(), at.write_text("")), "is a file"),
    ],
)
def test_what_is_no_network_is_named(make, said: str, tmp_path: Path) -> None:
    at = tmp_path / "at"
    at.mkdir()
    make(at)
    with pytest.raises(FileNotFoundError, match=said) as raised:
        PoseAutoencoder.from_pretrained(at)
    assert str(at) in str(raised.value)
