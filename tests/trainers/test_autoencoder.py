"""The pose autoencoder: what it reads, that it learns, that it travels."""

import pytest
import torch

from datamodules.batch import Batch
from models.human.autoencoder import PoseAutoencoder
from trainers.human.pose_autoencoder import PoseAutoencoderStage


def poses(windows: int, window: int = 16, seed: int = 0) -> torch.Tensor:
    """Figures that sway, each with a rate of its own."""
    random = torch.Generator().manual_seed(seed)
    rates = torch.rand(windows, 1, 1, 1, generator=random) * 0.5
    times = torch.arange(window)[None, :, None, None]
    places = torch.rand(1, 1, 134, 2, generator=torch.Generator().manual_seed(99))
    points = places + 0.1 * torch.sin(times * rates)
    return torch.cat([points, torch.ones_like(points[..., :1])], -1)


@pytest.fixture
def statistics() -> dict:
    points = poses(50)[..., :2].flatten(0, 1)
    return {"pose": {"mean": points.mean(0).tolist(), "std": points.std(0).tolist()}}


@pytest.mark.paper("MMGT-23")
@pytest.mark.parametrize("scores", [False, True])
def test_reads_the_channels_it_says(scores):
    network = PoseAutoencoder(window=16, width=16, features=4, scores=scores)
    channels, mask = network.standardise(poses(3))
    assert channels.shape == mask.shape == (3, 402 if scores else 268, 16)
    assert network.encode(poses(3)).shape == (3, 4)
    assert network.reconstruct(poses(3)).shape == (3, 16, 134, 2)


def test_standardises_by_the_statistics(statistics):
    network = PoseAutoencoder(window=16, width=16, features=4)
    network.set_statistics(statistics)
    channels, _ = network.standardise(poses(50))
    assert channels.mean().abs() < 0.01
    assert channels.std() == pytest.approx(1, abs=0.05)


def test_a_missing_points_place_does_not_matter(statistics):
    network = PoseAutoencoder(window=16, width=16, features=4)
    network.set_statistics(statistics)
    here, there = poses(2), poses(2)
    here[:, :, 7] = torch.tensor([-1.0, -1.0, 0.0])
    there[:, :, 7] = torch.tensor([123.0, 4.0, 0.0])
    assert torch.equal(network.encode(here), network.encode(there))
    assert torch.equal(network(here), network(there))


def test_other_lengths_and_odd_sizes_are_refused():
    with pytest.raises(ValueError, match=r"reads \(B, 16, 134, 3\)"):
        PoseAutoencoder(window=16, width=16).encode(poses(2, window=24))
    with pytest.raises(ValueError, match="multiple of 8"):
        PoseAutoencoder(window=12)


def test_learns_and_travels(tmp_path, statistics):
    torch.manual_seed(0)
    stage = PoseAutoencoderStage(network={"window": 16, "width": 16, "features": 4})
    stage.use_statistics(statistics)
    batch = Batch(ids=["a@0"] * 32, starts=torch.zeros(32), fps=25.0, pose=poses(32))
    optimizer = torch.optim.Adam(stage.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        stage.network(batch.pose).backward()
        optimizer.step()
    # Squared standard deviations: 0.015 is left.
    assert stage.network(poses(32, seed=1)).item() < 0.3, "the mean pose is off by 1"
    stage.network.save_pretrained(tmp_path)
    repeated = PoseAutoencoder.from_pretrained(tmp_path).eval()
    assert torch.equal(repeated.encode(batch.pose), stage.network.encode(batch.pose))
    assert stage.sample(batch)["pose"].shape == (32, 16, 134, 3)
