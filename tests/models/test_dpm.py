"""DPM-Solver++ (2M): diffusers' steps, DDIM without its line, and fewer steps for the same accuracy."""

import pytest
import torch
from torch import Tensor

from models.diffusion.guiders import Denoiser
from models.diffusion.noise.ddpm import DDPMNoise
from models.diffusion.samplers.ddim import DDIM
from models.diffusion.samplers.dpm import DPMSolver

NOISE = DDPMNoise("linear", 1000)


def best(noise: DDPMNoise) -> Denoiser:
    """x0 of data that are normal with deviation 0.5 about 0.3, exactly."""

    def denoise(z: Tensor, levels: Tensor) -> Tensor:
        signal, sigma = noise.scales(levels, z)
        return 0.3 + signal * 0.25 * (z - signal * 0.3) / (signal.square() * 0.25 + sigma.square())

    return denoise


denoise = best(NOISE)


def start(count: int = 64) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_the_steps_are_those_of_diffusers(steps):
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    theirs = DPMSolverMultistepScheduler(
        num_train_timesteps=1000, beta_schedule="linear", beta_start=1e-4, beta_end=0.02, prediction_type="sample",
        timestep_spacing="trailing", final_sigmas_type="zero", lower_order_final=True, solver_order=2,
    )  # fmt: skip
    theirs.set_timesteps(steps)
    ours = DPMSolver(denoise, NOISE, steps)
    assert theirs.timesteps.tolist() == ours.levels.tolist()
    z = start()
    for level in theirs.timesteps:
        z = theirs.step(denoise(z, level.expand(len(z))), level, z).prev_sample
    torch.testing.assert_close(ours.run(start()), z, atol=1e-5, rtol=1e-5)


def test_a_single_step_is_ddims():
    for steps in (1, 4):
        one, other = DPMSolver(denoise, NOISE, steps), DDIM(denoise, NOISE, steps)
        for level in one.levels:
            torch.testing.assert_close(one.step(start(), level), other.step(start(), level), atol=1e-5, rtol=1e-5)


def test_few_steps_come_nearer_to_many_than_ddims():
    noise = DDPMNoise("cosine", 1000)
    wanted = DDIM(best(noise), noise, 1000).run(start())
    for steps in (8, 12):
        found = [kind(best(noise), noise, steps).run(start()) for kind in (DPMSolver, DDIM)]
        one, other = (float((each - wanted).abs().mean()) for each in found)
        assert one < 0.6 * other, (steps, one, other)


def test_impossible_numbers_of_steps_are_refused():
    for steps in (0, 1001):
        with pytest.raises(ValueError, match="between 1 and 1000"):
            DPMSolver(denoise, NOISE, steps)
