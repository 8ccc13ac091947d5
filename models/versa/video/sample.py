"""One window of frames from VersaAnimator's video network (VA-11)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.diffusion.guiders.classifier_free import ClassifierFree, Weight
from models.diffusion.samplers.ddim import DDIM
from models.versa.video.conditions import FACE, VersaConditions, VersaInputs
from models.versa.video.network import VersaVideo
from models.video.network import check_known

FIRST, REFERENCE = "first", "reference"
"""What the weights of guidance in the first and in the last frame are called among those of conditions."""


def ramp(first: float, last: float, numbers: Tensor, frames: int) -> Tensor:
    """Weights of guidance (T, 1, 1) of frames by their numbers (T,), as SVD has them: from first to last.

    Behind the frames of the first window it stays: where windows overlap, a frame has one weight in both.

    Args:
        first: of frame 0.
        last: of the last of the first window.
        numbers: of frames, in the whole video.
        frames: of the first window.
    """
    share = (numbers / max(frames - 1, 1)).clamp(max=1)
    return torch.lerp(torch.tensor(float(first)), torch.tensor(float(last)), share)[:, None, None]


def guidance_weights(network: VersaVideo, given: Mapping[str, float | None]) -> dict[str, float | None]:
    """Weights by condition, and of the first frame, those that are not given the network's; None is the reference's.

    Raises:
        ValueError: an unknown condition.
    """
    check_known(given, network.guidance)
    return {**network.guidance, **given}


@torch.no_grad()
def sample_window(
    network: VersaVideo,
    conditions: VersaInputs | VersaConditions,
    noise: Tensor,
    *,
    steps: int | None = None,
    guidance: Mapping[str, float | None] | None = None,
    numbers: Tensor | None = None,
    first_window: int | None = None,
    known: Tensor | None = None,
    new: Tensor | None = None,
) -> Tensor:
    """Scaled latents (B, C, T, h, w) of a window, by Euler's method on the differential equation of EDM.

    The network is called whole, so that weights which are shared out are gathered; given `VersaInputs` it encodes them
    at every step. Samples and what is computed of them are in float32.

    Args:
        network: as a validation has it.
        conditions: what it is told; guidance is by those that are there.
        noise: (B, C, T, h, w) standard normal, with which sampling starts.
        steps: sampling steps; None takes the network's.
        guidance: weights by condition, and "first" (`guidance_weights`); those that are not given are the network's.
        numbers: (T,) of the frames in the whole video; None is 0 .. T - 1.
        first_window: frames of the video's first window; None is T.
        known: (B, C, K, h, w) what was made of the first frames before: in every step the predicted x0 goes over from
            it to the network's own.
        new: (K,) how far the network's own counts there, 0 to 1.
    """
    weights = guidance_weights(network, guidance or {})
    frames = noise.shape[2]
    numbers = torch.arange(frames) if numbers is None else numbers
    first, last = weights[FIRST], weights[REFERENCE]
    ends = (1.0 if first is None else first, 1.0 if last is None else last)
    by_reference = ramp(*ends, numbers, first_window or frames)
    told = [name for name in network.guidance if name != FIRST and (name == REFERENCE or _told(conditions, name))]
    guider = ClassifierFree(**{name: _own(weights[name], name, by_reference) for name in told})

    def predict(x: Tensor, levels: Tensor, inputs: Any, left_out: Mapping[str, Tensor]) -> Tensor:
        output = network(x, levels, inputs, left_out).float()
        return network.preconditioning.x0(output, x, network.noise.scales(levels, x))

    denoise = guider.prepare(predict, conditions)

    def go_on(x: Tensor, levels: Tensor) -> Tensor:
        x0 = denoise(x, levels)
        if known is None or new is None:
            return x0
        shared = known.shape[2]
        both = torch.lerp(known, x0[:, :, :shared], new.to(x0)[:, None, None])
        return torch.cat([both, x0[:, :, shared:]], 2)

    return DDIM(go_on, network.noise, network.sampling_steps if steps is None else steps).run(noise.float())


def _own(weight: float | None, name: str, by_reference: Tensor) -> Weight:
    return by_reference if weight is None or name == REFERENCE else weight


def _told(conditions: VersaInputs | VersaConditions, name: str) -> bool:
    if isinstance(conditions, VersaInputs) and name not in FACE:
        name = "skeletons"
    return getattr(conditions, name) is not None
