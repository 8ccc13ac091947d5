"""Seams of long motion, measured on a diffusion that was trained."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.implicit_motion.generate import generate, seam_statistics, seams
from models.implicit_motion.motion import PRECEDING, MotionDiffusion
from models.implicit_motion.motion_loss import motion_diffusion_loss
from tests.models.averaged import Averaged

C, A, WINDOW, STEPS = 24, 4, 40, 700


def clip(frames: int, seed: int) -> tuple[Tensor, Tensor]:
    """Motion (T, C) that sways at random and rises when the speech is loud, and the speech (T, 35).

    Nothing in the speech tells of the sway: only the frames before say where it is.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(frames) / 25
    loud = np.convolve(rng.normal(size=frames + 12), np.hanning(13), "valid") / 2
    sway = sum(np.sin(2 * np.pi * (times / period + rng.uniform())) for period in (1.7, 3.1, 5.3))
    place, *directions = np.random.default_rng(99).normal(size=(3, C))
    motion = place + loud[:, None] * directions[0] + 0.6 * sway[:, None] * directions[1]
    speech = np.concatenate([loud[:, None], rng.normal(size=(frames, 34))], 1)
    return torch.from_numpy(motion).float(), torch.from_numpy(speech).float()


def trained() -> MotionDiffusion:
    torch.manual_seed(0)
    clips = [clip(300, seed) for seed in range(16)]
    network = MotionDiffusion(
        width=64, layers=2, heads=2, feedforward=128, dropout=0.0, motion_channels=C, appearance_channels=A,
        audio="handcrafted", audio_width=16, audio_layers=1, audio_reach=1, window=WINDOW, sampling_steps=20,
    ).train()  # fmt: skip
    frames = torch.cat([motion for motion, _ in clips])
    moved = torch.cat([motion - motion.mean(0) for motion, _ in clips])
    network.space.set_moments(frames.mean(0), frames.std(0), moved.std(0))
    training = Averaged(network, betas=(0.9, 0.99))
    for step in range(STEPS):
        training.optimizer.param_groups[0]["lr"] = 2e-3 * (1 - 0.95 * step / STEPS)
        starts = torch.randint(0, 300 - WINDOW, (16,)).tolist()
        motion, speech = (
            torch.stack([one[part][start : start + WINDOW] for one, start in zip(clips, starts, strict=True)])
            for part in (0, 1)
        )
        source = motion[torch.arange(16), torch.randint(0, WINDOW, (16,))]
        x0 = network.space.encode(motion, source)
        before, x0 = x0[:, :PRECEDING], x0[:, PRECEDING : WINDOW - network.after]
        continued, repeated, drop = (torch.rand(16) < chance for chance in (0.5, 0.5, 0.1))
        timesteps, noise = torch.randint(0, 1000, (16,)), torch.randn_like(x0)
        output = network(
            network.noise.add(x0, noise, timesteps), timesteps, source, torch.zeros(16, A), speech,
            before * continued[:, None, None], self_condition=repeated, drop_speech=drop,
        )  # fmt: skip
        loss = motion_diffusion_loss(
            output.noise,
            noise,
            output.x0,
            x0,
            before,
            known=torch.ones(x0.shape[:2], dtype=torch.bool),
            continued=continued,
        )["loss"]
        training.step(loss)
    training.finish()
    return network


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.paper("IM-14")
@pytest.mark.paper("IM-17")
def test_seams_cannot_be_seen():
    """Four sequences with 39 seams each: frames at seams differ no more than others, and the motion follows speech."""
    network = trained()
    frames = 40 * network.hop
    truth, speech = (torch.stack(part) for part in zip(*[clip(frames, 100 + seed) for seed in range(4)], strict=True))
    output = generate(network, truth[:, 0], torch.zeros(4, A), speech)
    places = seams(network, frames)
    assert len(places) == 39
    figures = seam_statistics(output, places)
    print({name: round(value, 4) for name, value in figures.items()})
    assert figures["seams"] == 4 * 39
    assert figures["ratio"] <= 1.1
    assert figures["largest_at_seams"] <= figures["percentile_99_9_inside"]
    rise, sway = torch.from_numpy(np.random.default_rng(99).normal(size=(3, C))[1:]).float()
    across = rise - rise @ sway / (sway @ sway) * sway  # what only speech moves
    heard = torch.corrcoef(torch.stack([(output @ across).flatten(), (truth @ across).flatten()]))[0, 1]
    print(f"correlation with what speech says {heard:.3f}")
    assert heard > 0.7, "still or random motion would have no seams either"
    swings = [(each @ sway).std(1).mean() for each in (output, truth)]
    print(f"sway {swings[0]:.3f} of {swings[1]:.3f}")
    assert swings[0] > 0.5 * swings[1], "motion that stands still has no seams either"
