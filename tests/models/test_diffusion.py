"""Diffusion parts."""

import math

import pytest
import torch

from models.diffusion.guider import classifier_free
from models.diffusion.parameterisation import target, to_x0
from models.diffusion.sampler import sample
from models.diffusion.schedule import NoiseSchedule
from models.diffusion.weighting import loss_weight


@pytest.mark.paper("MMGT-9")
def test_cosine_schedule_of_a_thousand_steps():
    """abar(t) = f(t) / f(0), f(t) = cos^2((t / T + 0.008) / 1.008 pi / 2) (Nichol and Dhariwal)."""
    schedule = NoiseSchedule("cosine", 1000)
    assert len(schedule.alphas_cumprod) == 1000

    def f(t: float) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    for step in (0, 250, 500, 900):
        assert schedule.alphas_cumprod[step].item() == pytest.approx(f(step + 1) / f(0), rel=1e-3)
    assert schedule.alphas_cumprod[-1] < 1e-4


def test_noise_is_added_as_the_formula_says():
    schedule = NoiseSchedule()
    x0, noise, timesteps = torch.randn(3, 4, 5), torch.randn(3, 4, 5), torch.tensor([0, 500, 999])
    alpha = schedule.alphas_cumprod[timesteps][:, None, None]
    expected = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise
    torch.testing.assert_close(schedule.add_noise(x0, noise, timesteps), expected)
    torch.testing.assert_close(schedule.snr(timesteps), (alpha / (1 - alpha)).flatten())


@pytest.mark.parametrize("kind", ["epsilon", "x0", "v"])
def test_a_perfect_prediction_gives_back_x0(kind):
    schedule = NoiseSchedule()
    x0, noise, timesteps = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([10, 400, 800])
    noisy = schedule.add_noise(x0, noise, timesteps)
    prediction = target(kind, schedule, x0, noise, timesteps)
    torch.testing.assert_close(to_x0(kind, schedule, prediction, noisy, timesteps), x0, rtol=1e-3, atol=1e-4)


def test_weightings():
    schedule = NoiseSchedule()
    timesteps = torch.arange(0, 1000, 50)
    snr = schedule.snr(timesteps)
    assert loss_weight("uniform", schedule, timesteps, "x0").unique().tolist() == [1.0]
    torch.testing.assert_close(loss_weight("min_snr", schedule, timesteps, "x0"), snr.clamp(max=5))
    # The same weight seen as an error of the noise: |eps error|^2 = SNR |x0 error|^2.
    torch.testing.assert_close(loss_weight("min_snr", schedule, timesteps, "epsilon") * snr, snr.clamp(max=5))


@pytest.mark.parametrize("method", ["ddim", "ddpm"])
def test_sampler_ends_at_what_an_all_knowing_model_says(method):
    truth = torch.randn(2, 6)
    noise = torch.randn(2, 6)
    made = sample(lambda x, t: truth, noise, steps=20, method=method, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(made, truth, rtol=1e-3, atol=1e-3)


@pytest.mark.paper("MMGT-9")
def test_ddim_brings_noise_to_the_data_distribution():
    """For normal data the best x0 is known; sampling with it in 50 of 1,000 steps has to give their mean and spread."""
    mean, std = 1.5, 0.3
    schedule = NoiseSchedule("cosine", 1000)

    def best(x_t: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        alpha = schedule.alphas_cumprod[timesteps][:, None]
        gain = alpha.sqrt() * std**2 / (alpha * std**2 + 1 - alpha)
        return mean + gain * (x_t - alpha.sqrt() * mean)

    calls = []
    made = sample(
        lambda x, t: calls.append(int(t[0])) or best(x, t),
        torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0)),
    )
    assert len(calls) == 50
    assert calls[0] == 999
    assert calls == sorted(calls, reverse=True)
    assert made.mean().item() == pytest.approx(mean, abs=0.01)
    assert made.std().item() == pytest.approx(std, rel=0.1)


def test_constraint_acts_on_every_predicted_x0():
    held = sample(lambda x, t: torch.zeros_like(x), torch.randn(2, 4), steps=5, constrain=lambda x0: x0 + 3)
    torch.testing.assert_close(held, torch.full((2, 4), 3.0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_numbers_of_steps_are_refused(steps):
    with pytest.raises(ValueError, match="between 1 and 1000"):
        sample(lambda x, t: x, torch.randn(1, 2), steps=steps)


@pytest.mark.paper("MMGT-9")
@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0])
def test_classifier_free_guidance(weight):
    """uncond + w (cond - uncond)."""
    calls = []

    def model(x: torch.Tensor, timesteps: torch.Tensor, drop: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return torch.where(drop[:, None], torch.tensor(10.0), torch.tensor(13.0)).expand_as(x)

    made = classifier_free(model, weight)(torch.randn(2, 3), torch.tensor([5, 5]))
    torch.testing.assert_close(made, torch.full((2, 3), 10 + weight * 3))
    assert calls == ([2] if weight == 1 else [4])


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="cosine"):
        NoiseSchedule("cosinus")
