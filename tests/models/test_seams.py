"""Seams of long sequences, measured on a network that was trained."""

import numpy as np
import pytest
import torch

from models.diffusion.chaining import seams
from models.diffusion.noise.ddpm import DDPMNoise
from models.mmgt import SMGA
from models.mmgt.generate import generate, seam_statistics
from models.mmgt.loss import smga_loss
from tests.models.averaged import Averaged

WINDOW = 40


def clip(frames: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A figure that sways at random and raises some points when the speech is loud: poses and speech."""
    rng = np.random.default_rng(seed)
    times = np.arange(frames) / 25
    loud = np.convolve(rng.normal(size=frames + 12), np.hanning(13), "valid")
    sway = sum(np.sin(2 * np.pi * (times / period + rng.uniform())) for period in (1.7, 3.1, 5.3))
    place = np.random.default_rng(99).uniform(0.3, 0.7, (134, 2))
    direction = np.random.default_rng(98).normal(0, 0.02, (2, 134, 2))
    points = place + loud[:, None, None] * direction[0] + 0.3 * sway[:, None, None] * direction[1]
    speech = np.concatenate([loud[:, None], rng.normal(size=(frames, 34))], 1)
    pose = np.concatenate([points, np.ones((frames, 134, 1))], -1)
    return torch.from_numpy(pose).float(), torch.from_numpy(speech).float()


def trained(reference: str, steps: int = 500) -> SMGA:
    torch.manual_seed(0)
    clips = [clip(300, seed) for seed in range(8)]
    network = SMGA(
        width=64, layers=2, heads=2, feedforward=128, dropout=0.0, audio_layers=1, predict="offset",
        reference=reference, window=WINDOW, sampling_steps=20,
    ).train()  # fmt: skip
    points = torch.cat([pose[..., :2] for pose, _ in clips])
    network.set_statistics(
        {
            "pose": {"mean": points.mean(0), "std": points.std(0)},
            "pose_motion": {"std": points.std(0)},
            "handcrafted": {"mean": torch.zeros(35), "std": torch.ones(35)},
        }
    )
    training, schedule = Averaged(network), DDPMNoise()
    for _ in range(steps):
        starts = torch.randint(0, 300 - WINDOW, (16,)).tolist()
        chosen = [clips[i % 8] for i in range(16)]
        pose, speech = (
            torch.stack([one[part][start : start + WINDOW] for one, start in zip(chosen, starts)]) for part in (0, 1)
        )
        frame = torch.randint(0, WINDOW, (16,)) * (torch.arange(16) % 2) * (reference == "any")
        first = pose[torch.arange(16), frame]
        x0, known = network.poses.encode(pose, first)
        timesteps = torch.randint(0, 1000, (16,))
        noisy = schedule.add(x0, torch.randn_like(x0), timesteps)
        predicted = network(noisy, timesteps, network.poses.condition(first), speech, torch.arange(16) % 4 == 3)
        training.step(smga_loss(predicted, x0, known)["loss"])
    training.finish()
    return network


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.paper("MMGT-11")
@pytest.mark.paper("IM-17")
@pytest.mark.parametrize("reference", ["first", "any"])
def test_seams_cannot_be_seen(reference):
    """Four sequences with 39 seams each: frames at seams differ no more than others, and the motion follows speech."""
    network = trained(reference)
    frames = WINDOW + 39 * 30
    truth, speech = zip(*[clip(frames, 100 + seed) for seed in range(4)], strict=True)
    output = generate(network, torch.stack([pose[0] for pose in truth]), torch.stack(speech), overlap=10)
    places = seams(frames, WINDOW, 10)
    assert len(places) == 39
    figures = seam_statistics(output, places)
    print({name: round(value, 5) for name, value in figures.items()})
    assert figures["seams"] == 4 * 39
    assert figures["ratio"] <= 1.1
    assert figures["largest_at_seams"] <= figures["percentile_99_9_inside"]
    moved, true = (
        torch.stack([one[..., :2] - one[..., :2].mean(0) for one in sequences]).flatten()
        for sequences in (output, truth)
    )
    assert torch.corrcoef(torch.stack([moved, true]))[0, 1] > 0.5, "still or random motion would have no seams either"
