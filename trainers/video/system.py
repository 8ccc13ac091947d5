"""Latent video: its autoencoder, and what measures it, with its options."""

from dataclasses import dataclass
from typing import Final

from trainers.evaluation.options import EvaluateOptions, OfVideos
from trainers.record import Record, Tool


@dataclass(frozen=True, kw_only=True)
class AutoencoderOptions(OfVideos, EvaluateOptions):
    """Frames that passed the autoencoder, beside frames that were only made smaller and larger again."""


STAGES: Final = {
    "video.autoencoder": Record(
        "trainers.video.autoencoder:AutoencoderStage",
        evaluator=Tool("trainers.video.evaluation:measure_autoencoder", AutoencoderOptions),
    ),
}
