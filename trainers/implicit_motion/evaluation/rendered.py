"""Measuring the videos that a base network renders from motion features (IM-19)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from datamodules.media.fitting import FitMode
from models.implicit_motion import ImplicitMotion
from settings import ConfigError
from trainers.evaluation.comparison import Figure
from trainers.evaluation.per_clip import PerClip
from trainers.evaluation.pretrained import Pretrained
from trainers.evaluation.videos import read_shots
from trainers.implicit_motion.system import SpeechMotionOptions

FIGURES: Final = {
    "psnr": Figure("PSNR", "higher", "peak signal-to-noise ratio of frames, dB"),
    "ssim": Figure("SSIM", "higher", "structural similarity of frames"),
}


class Rendered:
    """Renders motion features from the first true frame of their clip, and measures the videos.

    Args:
        network: the base network that the features are of.
        options: which clips, and which pretrained networks are there.
        fit: how oblong frames were fitted when the network was trained (`data.video_fit`).
    """

    def __init__(self, network: ImplicitMotion, options: SpeechMotionOptions, fit: FitMode) -> None:
        self.network, self.options, self.fit = network, options, fit
        self.pretrained = Pretrained(options.weights)

    @property
    def figures(self) -> dict[str, Figure]:
        """Title and meaning of each figure."""
        return {**FIGURES, **self.pretrained.figures}

    def measure(self, answers: Mapping[Any, Sequence[np.ndarray]], ids: Sequence[str]) -> dict[Any, dict[str, float]]:
        """Figures of each answer: motion features (T, 768) for each of the clips with these ids.

        Raises:
            ConfigError: a clip without video.
        """
        options, size = self.options, self.network.image_size
        pixels = {name: self._pixels() for name in answers}
        beyond = {name: self.pretrained.meters() for name in answers}
        seen: list[str] = []
        options.progress.expect(len(answers) * len(ids))
        for shot in read_shots(options.shards, list(ids), options.seconds, (size, size), self.fit):
            seen.append(shot.info.id)
            number = ids.index(shot.info.id)
            for name, motions in answers.items():
                output = self._render(shot.frames[:1], motions[number])
                for meter in pixels[name].values():
                    meter.update(output, shot.frames)
                self.pretrained.update(beyond[name], output, shot.frames)
                for meter in (*pixels[name].values(), *beyond[name].values()):
                    meter.end_clip()
            options.progress.advance(len(answers), "clips rendered")
        if missing := sorted(set(ids) - set(seen)):
            raise ConfigError(f"{options.shards} has no video of {', '.join(missing[:3])}; measure without videos=true")
        found = {
            name: {figure: meter.compute() for figure, meter in {**pixels[name], **beyond[name]}.items()}
            for name in answers
        }
        return {name: {figure: value for figure, value in own.items() if value == value} for name, own in found.items()}

    @torch.no_grad()
    def _render(self, first: Tensor, motion: np.ndarray) -> Tensor:
        """Frames (T, 3, S, S) in [0, 1] of features (T, 768), from the first true frame (1, 3, S, S)."""
        device = next(self.network.parameters()).device
        source = self.network.encode_source(first.to(device).float() / 255)
        parts = torch.from_numpy(motion).float().split(self.options.batch)
        output = [self.network.render(source, part[None].to(device))[0].float().cpu() for part in parts]
        return torch.cat(output).clamp(0, 1)

    def _pixels(self) -> dict[str, Any]:
        import metrics

        return {"psnr": PerClip(metrics.PSNR()), "ssim": PerClip(metrics.SSIM())}
