"""Pose sequences of any length from a trained SMGA: windows chained into one continuous sequence (MMGT-11)."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from models.diffusion.chaining import NoiseTape, jumps, smooth, windows
from models.diffusion.guiders.classifier_free import ClassifierFree
from models.diffusion.guiders.unguided import Unguided
from models.diffusion.samplers.ddim import DDIM
from models.human.keypoints import POINTS
from models.mmgt.pose_space import CHANNELS
from models.mmgt.smga import SMGA

EASE = 12  # frames over which a window finds from where the one before ended to where it would have been


def generate(
    network: SMGA,
    first_pose: Tensor | np.ndarray,
    speech: Tensor | np.ndarray,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    window: int | None = None,
    overlap: int | None = None,
) -> Tensor:
    """A pose sequence for a first pose and speech of any length.

    Args:
        network: a trained SMGA; runs where its weights are.
        first_pose: (134, 3) or (B, 134, 3), fractions of the frame and score.
        speech: (T, C) or (B, T, C) features as stored, at the network's frame rate.
        steps: sampling steps; None takes the network's.
        guidance: weight of classifier-free guidance; None takes the network's.
        seed: the same seed gives the same poses; in a batch each sequence draws from a stream of its own.
        window: frames generated at once; None takes the network's.
        overlap: frames that a window shares with the one before; None is a quarter of the window.

    Returns:
        (T, 134, 3) or (B, T, 134, 3), fractions of the frame and score; missing points are (-1, -1, 0).

    Raises:
        ValueError: shapes that do not fit, speech without frames, an overlap that is not smaller than the window.
    """
    single = np.ndim(first_pose) == 2
    chunks = list(
        generate_chunks(
            network, first_pose, speech, steps=steps, guidance=guidance, seed=seed, window=window, overlap=overlap
        )
    )
    poses = torch.cat(chunks, 1)
    return poses[0] if single else poses


@torch.no_grad()
def generate_chunks(
    network: SMGA,
    first_pose: Tensor | np.ndarray,
    speech: Tensor | np.ndarray,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    window: int | None = None,
    overlap: int | None = None,
) -> Iterator[Tensor]:
    """As `generate`, in pieces (B, n, 134, 3) as they become final, so that memory does not grow with the length.

    Each window holds on to the end of the one before: in every denoising step the predicted x0 of the frames they share
    is replaced by what was generated already, what follows is eased into it, and both windows start from the same noise
    there. A network whose reference was always the window's first frame gets the generated frame at
    the window's start for its first pose; otherwise the picture's pose stays the reference, and nothing drifts.
    """
    device = network.audio_mean.device
    first_pose = torch.as_tensor(first_pose, dtype=torch.float32, device=device)
    speech = torch.as_tensor(speech, dtype=torch.float32, device=device)
    if first_pose.ndim == 2:
        first_pose, speech = first_pose[None], speech[None]
    _check(network, first_pose, speech)
    length = speech.shape[1]
    spans = windows(length, window or network.window, overlap)
    training = network.training
    network.eval()
    try:
        noises = NoiseTape(seed, len(first_pose), CHANNELS)
        reference, kept, start = first_pose, None, 0
        for begin, end in spans:
            if kept is not None:
                last, kept = kept[:, -1], kept[:, begin - start :]
                if network.reference == "first":
                    reference = kept[:, 0] if kept.shape[1] else last  # without an overlap, the nearest frame there is
            start = begin
            noise = noises.read(begin, end).to(device)
            output = _window(network, reference, speech[:, begin:end], noise, kept, steps, guidance)
            yield network.poses.hide_faint(output if kept is None else output[:, kept.shape[1] :])
            kept = output
    finally:
        network.train(training)


def seam_statistics(poses: Tensor | np.ndarray, seam_frames: Sequence[int], reach: int = 0) -> dict[str, float]:
    """How far poses jump at seams beside how far they move elsewhere (measured as in IM-17).

    The frame difference is the mean distance, over points present in both frames, between a frame and the one before.

    Args:
        poses: (T, 134, 3), or (B, T, 134, 3) with the same seams, measured together.
        seam_frames: frame numbers, as from `seams`.
        reach: further frames behind each seam that count as seam as well.

    Returns:
        "seams", "median_at_seams", "median_inside", "ratio" of the two, "largest_at_seams", "percentile_99_9_inside".

    Raises:
        ValueError: no seam, or nothing but seams.
    """
    poses = torch.as_tensor(poses).double()
    poses = poses[None] if poses.ndim == 3 else poses
    there = (poses[:, 1:, :, 2] > 0) & (poses[:, :-1, :, 2] > 0)
    distance = (poses[:, 1:, :, :2] - poses[:, :-1, :, :2]).norm(dim=-1) * there
    return jumps(distance.sum(-1) / there.sum(-1).clamp(min=1), seam_frames, reach)


def _check(network: SMGA, first_pose: Tensor, speech: Tensor) -> None:
    if first_pose.ndim != 3 or first_pose.shape[1:] != (POINTS, 3):
        raise ValueError(f"first_pose has to be (134, 3) or (B, 134, 3), got {tuple(first_pose.shape)}")
    channels = len(network.audio_mean)
    if speech.ndim != 3 or speech.shape[2] != channels or len(speech) != len(first_pose):
        raise ValueError(
            f"speech has to be ({len(first_pose)}, T, {channels}) to go with the first pose, got {tuple(speech.shape)}"
        )
    if speech.shape[1] < 1:
        raise ValueError("speech has no frames: there is nothing to generate")


def _hold_on(known: Tensor, valid: Tensor) -> Callable[[Tensor], Tensor]:
    """What makes a predicted x0 (B, T, 402) go on from known frames (B, K, 402).

    The known frames are put in. By how much the last of them differs from its prediction, the frames that follow are
    moved too, less and less: so position goes on without a step, and the predicted movement stays.
    """
    shared = known.shape[1]
    ease = smooth(torch.linspace(1, 0, EASE + 2, device=known.device)[1:-1])[:, None]

    def hold(x0: Tensor) -> Tensor:
        before, after = x0[:, :shared], x0[:, shared:]
        step = torch.where(valid[:, -1:], known[:, -1:] - before[:, -1:], 0)
        length = min(EASE, after.shape[1])
        eased = after[:, :length] + step * ease[:length]
        return torch.cat([torch.where(valid, known, before), eased, after[:, length:]], 1)

    return hold


def _window(
    network: SMGA,
    reference: Tensor,
    speech: Tensor,
    noise: Tensor,
    kept: Tensor | None,
    steps: int | None,
    guidance: float | None,
) -> Tensor:
    """One window, (B, T, 134, 3); `kept` (B, shared frames, 134, 3) is what was generated of it already."""
    weight = network.guidance if guidance is None else guidance
    guider = ClassifierFree(audio=weight) if network.use_audio else Unguided()

    def predict(x_t: Tensor, timesteps: Tensor, given: tuple[Tensor, Tensor], left_out: Mapping[str, Tensor]) -> Tensor:
        return network(x_t, timesteps, *given, left_out.get("audio"))

    denoise = guider.prepare(predict, (network.poses.condition(reference), speech))
    hold = None
    if kept is not None and kept.shape[1]:
        hold = _hold_on(*network.poses.encode(kept, reference))

    def go_on(x_t: Tensor, timesteps: Tensor) -> Tensor:
        x0 = denoise(x_t, timesteps)
        return x0 if hold is None else hold(x0)

    x0 = DDIM(go_on, network.noise, steps or network.sampling_steps).run(noise)
    return network.poses.decode(x0, reference)
