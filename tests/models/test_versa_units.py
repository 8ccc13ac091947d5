"""Mean and deviation of body motion in the networks that read it."""

import numpy as np
import pytest
import torch

from models.human.motion import PARTS
from models.versa.evaluator import TextMotionEvaluator
from models.versa.tokenizer import MotionTokenizer
from tests.motions import make_motion, motion_statistics

NETWORKS = {
    "tokenizer": lambda: MotionTokenizer(codes=8, code_width=8, width=8, depth=1),
    "evaluator": lambda: TextMotionEvaluator(width=16, layers=1, heads=2, features=8, text_buckets=16, text_layers=0),
}


@pytest.mark.paper("VA-1")
@pytest.mark.parametrize("kind", NETWORKS)
def test_deviations_are_averaged_within_each_part(kind):
    """So that the numbers of a part keep their sizes to each other, also where shards hold them averaged already."""
    statistics = motion_statistics([make_motion(np.random.default_rng(0), 80)])
    network = NETWORKS[kind]()
    network.set_statistics(statistics)
    mean, std = (np.array(statistics["body_motion"][name]) for name in ("mean", "std"))
    np.testing.assert_allclose(network.motion_mean, mean, rtol=1e-6)
    assert len({round(float(size), 6) for size in network.motion_std}) == len(PARTS)
    for part in PARTS.values():
        np.testing.assert_allclose(network.motion_std[part], std[part].mean(), rtol=1e-6)

    again = NETWORKS[kind]()
    again.set_statistics({"body_motion": {"mean": mean.tolist(), "std": network.motion_std.tolist()}})
    torch.testing.assert_close(again.motion_std, network.motion_std, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", NETWORKS)
def test_motion_in_units_comes_back(kind):
    motion = torch.from_numpy(make_motion(np.random.default_rng(1), 40))
    network = NETWORKS[kind]()
    torch.testing.assert_close(network.normalise(motion), motion)  # nothing is known yet
    network.set_statistics(motion_statistics([motion.numpy()]))
    assert network.normalise(motion).mean(0).abs().max() < 1e-4
    torch.testing.assert_close(network.denormalise(network.normalise(motion)), motion, rtol=1e-5, atol=1e-5)
