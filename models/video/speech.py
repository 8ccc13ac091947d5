"""Speech features of frames, and of the frames around each (MMGT-18)."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from models.video.audio_projection import HANDCRAFTED


def layers_at_frames(layers: Tensor, frames: int) -> Tensor:
    """Features at 50 a second brought to frames over the same time: each frame gets the mean of what lies within it.

    Nothing is passed over and nothing shifted: what is heard in a frame is strongest in that frame, at any frame rate.

    Args:
        layers: (B, L, S, A), S = round(seconds x 50).
        frames: F, as many as the same time has.

    Returns:
        (B, F, L, A).
    """
    steps = layers.shape[2]
    ratio = steps / frames
    # In double precision: five minutes are 15,000 steps, and their edges meet those of frames.
    begin = torch.arange(frames, device=layers.device, dtype=torch.float64) * ratio
    first = begin.floor()
    output = layers.new_zeros(layers.shape[0], layers.shape[1], frames, layers.shape[3])
    for further in range(math.ceil(ratio) + 1):
        at = first + further
        share = (torch.minimum(at + 1, begin + ratio) - torch.maximum(at, begin)).clamp(min=0) / ratio
        output += share[:, None].to(layers.dtype) * layers[:, :, at.long().clamp(max=steps - 1)]
    return output.transpose(1, 2)


def audio_windows(features: Tensor, first: int, frames: int, context: int = 2) -> Tensor:
    """Features of each frame with those of the frames around it, the frame itself in the middle (MMGT-18).

    Args:
        features: (B, F, L, A) of frames of a clip; hand-crafted ones (B, F, A) count as one layer.
        first: the first frame that is wanted; F begins with frame 0.
        frames: T, how many are wanted.
        context: m, how many frames each sees before and behind itself; at the ends the last one again.

    Returns:
        (B, T, 2 m + 1, L, A).

    Raises:
        ValueError: frames that are not there.
    """
    if features.ndim == 3:
        features = features[:, :, None]
    there = features.shape[1]
    if first < 0 or frames < 1 or first + frames > there:
        raise ValueError(f"frames {first} to {first + frames - 1} are wanted, but the speech has {there} frames")
    wanted = torch.arange(first, first + frames, device=features.device)
    return windows_at(features, wanted.expand(len(features), -1), context)


def windows_at(features: Tensor, frames: Tensor, context: int = 2, there: Tensor | None = None) -> Tensor:
    """As `audio_windows`, of frames (B, T) by number, each sequence's own: (B, T, 2 m + 1, L, A).

    Args:
        features: (B, F, L, A), padded behind their ends where they have several lengths.
        frames: which are wanted.
        context: m.
        there: (B,) frames of each, behind the last of which that is heard again; None is F of all.
    """
    around = torch.arange(-context, context + 1, device=features.device)
    rows = torch.arange(len(features), device=features.device)[:, None, None]
    last = torch.full_like(rows, features.shape[1] - 1) if there is None else there[:, None, None] - 1
    return features[rows, torch.minimum((frames[..., None] + around).clamp(min=0), last)]


def speech_features(handcrafted: np.ndarray | None, layers: np.ndarray | None, frames: int) -> Tensor:
    """Speech features of frames (F, L, A) as a network hears them.

    Args:
        handcrafted: (F, 35), for a network that hears these.
        layers: (L, S, A) at 50 a second, for one that hears layers.
        frames: F.
    """
    if layers is not None:
        return layers_at_frames(torch.from_numpy(layers)[None], frames)[0]
    assert handcrafted is not None
    return torch.from_numpy(handcrafted)[:, None]


def heard_features(
    speech: Mapping[str, np.ndarray], frames: int, layers: int, channels: int, numbers: Sequence[int] | None = None
) -> Tensor | None:
    """Speech features of frames (F, L, A) of a clip's speech.npz as a network hears them; None where it holds others.

    Args:
        speech: its arrays.
        frames: F.
        layers: L that the network hears.
        channels: A of each.
        numbers: which layers of those that are stored; all where None.
    """
    if channels == HANDCRAFTED:
        return speech_features(np.array(speech["handcrafted"]), None, frames)
    if "layers" not in speech:
        return None
    stored = speech["layer_ids"].tolist() if "layer_ids" in speech else list(range(len(speech["layers"])))
    wanted = stored if numbers is None else list(numbers)
    if not set(wanted) <= set(stored) or (len(wanted), speech["layers"].shape[-1]) != (layers, channels):
        return None
    picked = speech["layers"][[stored.index(number) for number in wanted]]
    return speech_features(None, picked.astype(np.float32), frames)
