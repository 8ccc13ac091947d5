"""Short windows of a batch of heads, as the diffusion of head motion learns them (CA-4, CA-5, CA-6)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.chatanyone.face_motion import Conditions, FaceMotion
from models.chatanyone.face_motion_space import HeadMotion
from models.chatanyone.head import EXPRESSIONS


@dataclass(frozen=True)
class WindowOptions:
    """How windows are drawn; each is an option of the stage, which says more.

    Attributes:
        targets: how many of each window of the data.
        drop_ranges: probability of no range, of each of the two dials.
        drop_reference: of no reference.
        started: that a window is the first of all.
        amplitude: by how much motion is enlarged or shrunk at most, as a power of e.
        unsure: largest deviation of the noise on preceding motion, usual spreads.
    """

    targets: int
    drop_ranges: float
    drop_reference: float
    started: float
    amplitude: float
    unsure: float


def windows(network: FaceMotion, batch: Any, random: Any, options: WindowOptions) -> tuple[Tensor, Tensor, Conditions]:
    """`targets` windows of each of the batch's (N, W, 22), where a face was seen (N, W, 1), their conditions.

    Args:
        network: in whose units they are.
        batch: of heads and speech.
        random: the stage's, of this batch (`Stage.generator`).
        options: how they are drawn.
    """
    many, head = options.targets, batch.arrays["head"]
    pose = head["pose"]
    (size, frames), device = pose.shape[:2], pose.device
    rows = torch.arange(size, device=device)[:, None]
    motion = HeadMotion(head["expression"], pose)
    # Half of the windows start from the picture's pose, the others find it anywhere.
    anywhere = (random.uniform() * frames).long().clamp(max=frames - 1)
    picture = torch.where(random.uniform() < 0.5, anywhere, 0)
    whole = network.space.encode(motion, pose[rows[:, 0], picture])
    whole = whole * _louder(random, size, options.amplitude)
    ranges = network.space.ranges(whole)
    heard = network.hear(batch.speech_layers if network.audio == "layers" else batch.audio, frames)

    back = max(network.history, network.preceding)
    last = frames - network.window - network.look_ahead
    begin = back + (random.uniform(many) * (last - back + 1)).long().clamp(max=last - back)  # (B, many)

    def cut(values: Tensor, start: Tensor, length: int, step: int = 1) -> Tensor:
        at = start[..., None] + step * torch.arange(length, device=device)
        return values[rows[..., None], at].flatten(0, 1)

    first = (random.uniform(many) < options.started).flatten()
    audio = cut(heard, begin - network.history, network.heard)
    silent = torch.arange(network.heard, device=device) < network.history
    audio = torch.where((first[:, None] & silent)[..., None], network.silence, audio)
    has_ranges = (random.uniform(many, 2) >= options.drop_ranges).flatten(0, 1)
    reference = has_reference = None
    if network.reference:
        start = _beside(network, begin, frames, random.uniform(many))
        reference = cut(whole[..., :EXPRESSIONS], start, network.reference, network.reference_step)
        has_reference = (random.uniform(many) >= options.drop_reference).flatten()
    before = cut(whole, begin - network.preceding, network.preceding)
    noise = random.normal(many, *before.shape[1:]).flatten(0, 1) * network.space.mask
    before = before + options.unsure * random.uniform(many).flatten()[:, None, None] * noise
    ranges = ranges.repeat_interleave(many, 0)
    given = Conditions(audio, before, ~first, ranges, has_ranges, reference, has_reference)
    seen = head["error"][..., None] >= 0
    return cut(whole, begin, network.window), cut(seen, begin, network.window), given


def _louder(random: Any, size: int, amplitude: float) -> Tensor:
    """How much expression and pose of each window are enlarged, (B, 1, 22)."""
    powers = (2 * random.uniform(2) - 1) * amplitude
    expression, pose = powers.exp()[:, None].split(1, -1)
    return torch.cat([expression.expand(size, 1, EXPRESSIONS), pose.expand(size, 1, 6)], -1)


def _beside(network: FaceMotion, begin: Tensor, frames: int, chance: Tensor) -> Tensor:
    """Where the reference of each window starts, (B, many): anywhere before it or behind it."""
    length, window = network.reference_frames, network.window
    before = (begin - length + 1).clamp(min=0)  # places in front of the window
    behind = (frames - length - (begin + window) + 1).clamp(min=0)
    place = (chance * (before + behind)).long()
    return torch.where(place < before, place, begin + window + place - before)
