"""The bank's figures are those of the poses that it makes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.token2pose import WAYS, measure
from models.human.autoencoder import PoseAutoencoder
from models.versa.tokenizer import MotionTokenizer
from preprocessing.bank import Options, make_bank
from tests.motions import motion_statistics
from tests.shards import write_shards


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Figures of a bank that is made of the very clip it is measured on: one way through it costs nothing."""
    folder: Path = tmp_path_factory.mktemp("bank")
    write_shards(folder / "shards", clips=1, seconds=2.0, keys=("pose.npz", "motion.npz"))
    torch.manual_seed(0)
    tokenizer = MotionTokenizer(codes=16, code_width=8, width=16, depth=1)
    tokenizer.set_statistics(motion_statistics([np.random.default_rng(0).normal(size=(40, 263))]))
    torch.nn.init.normal_(tokenizer.quantizer.codebook)
    tokenizer.save_pretrained(folder / "tokenizer")
    shards, networks = str(folder / "shards"), (str(folder / "tokenizer"), str(folder / "bank"))
    make_bank(Options(input=shards, output=networks[1], tokenizer=networks[0], device="cpu"))
    encoder = PoseAutoencoder(window=8, width=16, features=2).eval()
    return measure(shards, *networks, "train", 1, encoder)


def test_every_way_has_all_figures_and_the_cheapest_costs_least(found: dict) -> None:
    assert (found["clips"], found["projected"]) == (1, 0)
    assert found["figures"].keys() == WAYS.keys()
    best, first = found["figures"]["cheapest way, blended"], found["figures"]["first snippet"]
    assert best["seam_cost"] < first["seam_cost"]
    assert max(row["largest_bone_error"] for row in found["figures"].values()) < 1e-3


def test_poses_that_were_there_are_near_the_truth(found: dict) -> None:
    """The cheapest way through a bank of the clip is the clip."""
    best, first = found["figures"]["cheapest way"], found["figures"]["first snippet"]
    assert best["fgd"] == pytest.approx(0, abs=1e-5)
    assert best["acceleration_error"] == pytest.approx(0, abs=1e-3)
    assert first["fgd"] > 1e-4
