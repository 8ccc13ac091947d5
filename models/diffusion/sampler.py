"""Samplers: from noise to a sample in a given number of steps. diffusers does the arithmetic."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from models.diffusion.guider import Model
from models.diffusion.schedule import schedule_options


def sample(
    model: Model,
    noise: Tensor,
    *,
    schedule: str = "cosine",
    train_steps: int = 1000,
    steps: int = 50,
    method: Literal["ddim", "ddpm"] = "ddim",
    constrain: Callable[[Tensor], Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Run the reverse process of a network that predicts x0.

    Args:
        model: (x_t, timesteps (B,)) to x0.
        noise: (B, ...) x_T.
        schedule: name of the noise schedule used in training.
        train_steps: diffusion steps in training.
        steps: steps to take, spread evenly, the last training step first.
        method: "ddim" (deterministic) or "ddpm" (draws noise at each step).
        constrain: changes each predicted x0, to hold on to what is known.
        generator: of ddpm's noise.

    Returns:
        (B, ...) x0.

    Raises:
        ValueError: steps not between 1 and train_steps.
    """
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    if not 1 <= steps <= train_steps:
        raise ValueError(f"sampling steps have to be between 1 and {train_steps}, got {steps}")
    kind = DDIMScheduler if method == "ddim" else DDPMScheduler
    scheduler = kind(**schedule_options(schedule, train_steps, "x0"), timestep_spacing="trailing")
    if method == "ddim":
        scheduler.register_to_config(set_alpha_to_one=True)
        scheduler.final_alpha_cumprod = torch.tensor(1.0)
    scheduler.set_timesteps(steps)
    x_t = noise
    for step in scheduler.timesteps.tolist():
        x0 = model(x_t, torch.full((len(x_t),), step, device=x_t.device))
        if constrain is not None:
            x0 = constrain(x0)
        options = {"generator": generator} if method == "ddpm" else {}
        x_t = scheduler.step(x0, step, x_t, **options).prev_sample
    return x_t
