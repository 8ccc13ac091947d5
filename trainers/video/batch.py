"""What of a batch goes into a network of latent video: which frames, their latents, poses, speech, image tokens."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from models.video.audio_projection import HANDCRAFTED
from models.video.masks import motion_masks
from models.video.speech import layers_at_frames
from settings import ConfigError

Reference = Literal["first", "any"]
Frames = Literal["consecutive", "any"]
Size = tuple[int, int]


@dataclass(frozen=True)
class Picked:
    """Frames of windows, by their number in the window.

    Attributes:
        frames: (B, T) those that are generated.
        reference: (B,) that of the reference picture.
    """

    frames: Tensor
    reference: Tensor

    @property
    def all(self) -> Tensor:
        """(B, T + 1), the reference's last."""
        return torch.cat([self.frames, self.reference[:, None]], 1)


def pick(random: Any, there: int, count: int, margin: int, frames: Frames, reference: Reference) -> Picked:
    """Choose frames of windows (MMGT-14).

    Args:
        random: the step's random numbers, a stream per sample.
        there: frames of a window.
        count: T, frames that are wanted.
        margin: frames of speech on either side of a frame; where the window is long enough, none of them lies outside.
        frames: one behind the other, or any of the window.
        reference: the first of them, or any of the window.
    """
    low = min(margin, (there - count) // 2)
    start = random.integers(low, there - count - low + 1)
    chosen = start[:, None] + torch.arange(count, device=start.device)
    if frames == "any":
        chosen = random.integers(0, there, count)
    return Picked(chosen, chosen[:, 0] if reference == "first" else random.integers(0, there))


def picked_of(batch: Any, picked: Picked) -> Any:
    """A batch with the picked frames' latents, or frames to encode, alone, the reference's last."""
    rows = torch.arange(len(picked.reference), device=picked.reference.device)[:, None]
    if "latents" not in batch.arrays:
        return replace(batch, video=batch.video[rows, picked.all])
    cached = batch.arrays["latents"]
    some = {name: cached[name][rows, picked.all] for name in ("mean", "log_variance")}
    return replace(batch, arrays={**batch.arrays, "latents": {**cached, **some}})


def poses_of(batch: Any, picked: Picked, size: Size, covered: Size) -> Tensor:
    """Poses (B, T + 1, 134, 3) of the picked frames, the reference's last, as fractions of what latents cover.

    Args:
        batch: windows.
        picked: which of their frames.
        size: height and width of the frames.
        covered: of what latents stand for: where the autoencoder's factor does not divide a side, frames are continued
            to the right and below.
    """
    rows = torch.arange(len(picked.reference), device=picked.reference.device)[:, None]
    pose: Tensor = batch.pose[rows, picked.all]
    if size == covered:
        return pose
    return pose * torch.tensor((size[1] / covered[1], size[0] / covered[0], 1.0), device=pose.device)


def speech_of(batch: Any, network: Any) -> Tensor:
    """Speech features (B, F, L, A) of every frame of the windows: hand-crafted ones are one layer.

    Raises:
        ConfigError: others than the network reads.
    """
    layers, channels = network.audio_projection.shape[1:]
    if (layers, channels) == (1, HANDCRAFTED):
        return batch.speech[:, :, None]
    found = None if batch.speech_layers is None else (batch.speech_layers.shape[1], batch.speech_layers.shape[3])
    if found == (layers, channels):
        return layers_at_frames(batch.speech_layers, batch.speech.shape[1])
    has = "none of a pretrained speech model" if found is None else f"{found[0]} layers of {found[1]}"
    raise ConfigError(
        f"stage.network reads {layers} layers of {channels} speech features (audio_layers, audio_channels), but the "
        f"clips have {has}: set the two, choose layers by data.speech_layers, or make shards with such a model's "
        '(`python -m preprocessing.run ... "speech=[handcrafted, {name: transformers, model: NAME, layers: [...]}]"`); '
        f"the hand-crafted features are 1 layer of {HANDCRAFTED}"
    )


def image_tokens(batch: Any, network: Any) -> Tensor:
    """The image encoder's token (B, F, A) of every frame. Raises ConfigError for another encoder's."""
    tokens: Tensor = batch.arrays["image"]["tokens"].float()
    if tokens.shape[-1] != network.image_channels:
        raise ConfigError(
            f"stage.network.image_channels is {network.image_channels}, but image.npz of data.shards has "
            f"{tokens.shape[-1]}: set stage.network.image_channels={tokens.shape[-1]}, or make it with another encoder"
        )
    return tokens


def places_of(pose: Tensor, factor: int, height: int, width: int, weight: float) -> Tensor:
    """What each latent of frames with poses (B, T, 134, 3) counts, (B, 1, T, height, width).

    1 + weight times the share of its pixels that are face or hands, and as much again for lips, as in the
    autoencoder's loss; f is `factor`, pixels of a latent's side.
    """
    regions = motion_masks(pose, height * factor, width * factor)[:, :, :2].sum(2)
    return 1 + weight * avg_pool2d(regions, factor)[:, None]
