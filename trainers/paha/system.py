"""PAHA: its stages, and what animates them, with its options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from settings.ranges import Count, NonNegative
from trainers.animation.options import AnimateOptions, Layers, Speech
from trainers.record import Record, Tool


@dataclass(frozen=True, kw_only=True)
class UniVDMOptions(Layers, Speech, AnimateOptions):
    """A picture that speaks and gestures, by one network (PH-1).

    Args:
        image: picture of the person.
        first_frame: "picture" begins with the picture itself, "any" with whatever fits the speech (PH-2).
        autoencoder: the autoencoder whose latents the network knows; left out, as its run says.
        image_encoder: the image encoder, of networks that read one; left out, as the run says.
        quality: "draft" takes 6 steps without guidance, to see what will come; "final" the network's own.
        steps: denoising steps; left out, by the quality.
        guidance_reference: weight of guidance by the picture, 1 is none; left out, by the quality.
        guidance_audio: by the speech.
        decode_batch: frames decoded at once.
    """

    image: Path | None = None
    first_frame: Literal["picture", "any"] = "picture"
    autoencoder: str | None = None
    image_encoder: str | None = None
    quality: Literal["draft", "final"] = "final"
    steps: Count | None = None
    guidance_reference: NonNegative | None = None
    guidance_audio: NonNegative | None = None
    decode_batch: Count = 8


STAGES: Final = {
    "paha.univdm": Record(
        "trainers.paha.univdm:UniVDMStage", animator=Tool("trainers.paha.animation:UniVDMAnimator", UniVDMOptions)
    )
}
