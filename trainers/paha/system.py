"""PAHA: its stages, and what animates them, with its options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from settings import ConfigError
from settings.ranges import Count, Fraction, NonNegative
from trainers.animation.options import AnimateOptions, Layers, Speech
from trainers.record import Record, Tool


@dataclass(frozen=True, kw_only=True)
class Guided:
    """Guidance by classifiers of regions (PH-15 .. PH-18).

    Args:
        guide: "none"; "sg", sequential, which moves each step of sampling by the classifiers' gradients; "dg",
            differential, which adds what differs between the two corrections.
        pce_face: the paha.pce_face that judges the face: run folder, saved network or hub name; without it sg corrects
            the rest alone.
        pce_nonface: the paha.pce_nonface that judges the rest.
        guide_rate: share of the steps that are guided, from the first on.
        weight_nonface: how far the rest is moved.
        weight_face: how far the face is.
        weight_differential: of what differs, in dg.
        differential: "residual" (ours), or "literal" as Eq. 12 is printed, which blows the latents up.
        gradients: "sequential" takes the face's behind the rest's correction (the paper), "together" both at once
            (ours).
    """

    guide: Literal["none", "sg", "dg"] = "none"
    pce_face: str | None = None
    pce_nonface: str | None = None
    guide_rate: Fraction = 0.5
    weight_nonface: NonNegative = 1.0
    weight_face: NonNegative = 0.1
    weight_differential: NonNegative = 0.25
    differential: Literal["residual", "literal"] = "residual"
    gradients: Literal["sequential", "together"] = "sequential"

    def check_guidance(self) -> None:
        """Raises ConfigError for classifiers that are missing, or that would not be asked."""
        given = {"pce_face": self.pce_face, "pce_nonface": self.pce_nonface}
        there = [name for name, run in given.items() if run is not None]
        if self.guide == "none" and there:
            raise ConfigError(f"{there[0]} is given, but guide=none asks no classifier: set guide=sg or guide=dg")
        if self.guide == "sg" and not there:
            raise ConfigError("guide=sg needs pce_face=RUN, pce_nonface=RUN or both")
        if self.guide == "dg" and len(there) < 2:
            raise ConfigError("guide=dg compares two classifiers: give both pce_face=RUN and pce_nonface=RUN")


@dataclass(frozen=True, kw_only=True)
class UniVDMOptions(Guided, Layers, Speech, AnimateOptions):
    """A picture that speaks and gestures, by one network (PH-1).

    Args:
        image: picture of the person.
        pose: where the person in the picture is, instead of looking for them (pose.npz of a clip, or DWPose's);
            guidance has to know where the face is.
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
    pose: Path | None = None
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
    ),
    "paha.pce_face": Record("trainers.paha.pce:PCEFaceStage"),
    "paha.pce_nonface": Record("trainers.paha.pce:PCENonfaceStage"),
}
