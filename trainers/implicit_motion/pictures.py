"""Frames as the base network takes them, and how far those that it makes are from the truth."""

from torch import Tensor

from models.implicit_motion.base import ImplicitMotion
from settings import ConfigError


def pixels(video: Tensor, network: ImplicitMotion) -> Tensor:
    """(B, T, 3, H, W) uint8 to floats in [0, 1]. Raises ConfigError for another size than the network's."""
    wanted = network.image_size
    if video.shape[-2:] != (wanted, wanted):
        height, width = video.shape[-2:]
        raise ConfigError(
            f"stage.network.image_size is {wanted}, but the frames are {width} x {height} pixels; set "
            f"data.video_size=[{wanted},{wanted}] (`preprocessing.run crop=square` makes videos that this does not "
            "distort)"
        )
    return video.contiguous().to(next(network.parameters()).dtype) / 255


def psnr(frames: Tensor, truth: Tensor) -> Tensor:
    """Mean over frames (R, 3, S, S) of the peak signal-to-noise ratio in dB."""
    error = (frames - truth).float().square().flatten(1).mean(1).clamp(min=1e-10)
    return -10 * error.log10().mean()
