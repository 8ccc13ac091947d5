"""One window of frames from a video network."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from models.diffusion.guiders.classifier_free import ClassifierFree
from models.diffusion.guiders.regional import Sampler
from models.diffusion.samplers.ddim import DDIM
from models.mmgt.video import MMGTVideo
from models.video.conditions import VideoConditions, VideoInputs


@torch.no_grad()
def sample_window(
    network: MMGTVideo,
    conditions: VideoInputs | VideoConditions,
    noise: Tensor,
    *,
    steps: int | None = None,
    guidance: Mapping[str, float] | None = None,
    temporal: bool = True,
    known: Tensor | None = None,
    sampling: Callable[[Sampler], Callable[[Tensor], Tensor]] | None = None,
) -> Tensor:
    """Scaled latents (B, C, T, h, w) of a window.

    The network is called whole, so that weights which are shared out are gathered; given `VideoInputs` it encodes them
    at every step.

    Args:
        network: as a validation has it.
        conditions: what it is told; guidance is by those that are there.
        noise: (B, C, T, h, w) standard normal, with which sampling starts.
        steps: sampling steps; None takes the network's.
        guidance: weights by condition; None takes the network's.
        temporal: false passes over the motion modules, and makes every frame for itself.
        known: (B, C, K, h, w) the first frames where they were made before: they are the predicted x0 in every step.
        sampling: a sampler to what brings noise to x0, such as guidance by classifiers; None is the sampler itself.
    """
    poses = conditions.pose if isinstance(conditions, VideoConditions) else conditions.skeletons
    given = {
        "reference": True,
        "pose": poses is not None,
        "audio": temporal and network.use_audio and conditions.audio is not None,
    }
    weights = network.guidance if guidance is None else guidance
    guider = ClassifierFree(**{name: weights.get(name, 1.0) for name, there in given.items() if there})

    def predict(x: Tensor, levels: Tensor, inputs: Any, left_out: Mapping[str, Tensor]) -> Tensor:
        output = network(x, levels, inputs, left_out, temporal=temporal).to(x.dtype)
        return network.preconditioning.x0(output, x, network.noise.scales(levels, x))

    denoise = guider.prepare(predict, conditions)

    def go_on(x: Tensor, levels: Tensor) -> Tensor:
        x0 = denoise(x, levels)
        return x0 if known is None else torch.cat([known, x0[:, :, known.shape[2] :]], 2)

    sampler = DDIM(go_on, network.noise, network.sampling_steps if steps is None else steps)
    return (sampler.run if sampling is None else sampling(sampler))(noise)
