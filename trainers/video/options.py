"""Options that tools of latent video share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from settings import ConfigError
from settings.ranges import Count, Fraction, NonNegative, Positive, Seed

Guide = Literal["none", "sg", "dg"]


@dataclass(frozen=True, kw_only=True)
class Classifiers:
    """Classifiers of regions, and how far they guide (PH-15 .. PH-18).

    Args:
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

    pce_face: str | None = None
    pce_nonface: str | None = None
    guide_rate: Fraction = 0.5
    weight_nonface: NonNegative = 1.0
    weight_face: NonNegative = 0.1
    weight_differential: NonNegative = 0.25
    differential: Literal["residual", "literal"] = "residual"
    gradients: Literal["sequential", "together"] = "sequential"

    @property
    def given(self) -> list[str]:
        """The classifiers that are there, by their options."""
        return [name for name in ("pce_face", "pce_nonface") if getattr(self, name) is not None]

    def check_guide(self, guide: Guide, option: str) -> None:
        """Raises ConfigError for classifiers that a kind of guidance lacks; `option` asked for it."""
        if guide == "sg" and not self.given:
            raise ConfigError(f"{option} needs pce_face=RUN, pce_nonface=RUN or both")
        if guide == "dg" and len(self.given) < 2:
            raise ConfigError(f"{option} compares two classifiers: give both pce_face=RUN and pce_nonface=RUN")


@dataclass(frozen=True, kw_only=True)
class Guided(Classifiers):
    """Guidance of a video.

    Args:
        guide: "none"; "sg", sequential, which moves each step of sampling by the classifiers' gradients; "dg",
            differential, which adds what differs between the two corrections.
    """

    guide: Guide = "none"

    def check_guidance(self) -> None:
        """Raises ConfigError for classifiers that are missing, or that would not be asked."""
        if self.guide == "none" and self.given:
            raise ConfigError(f"{self.given[0]} is given, but guide=none asks no classifier: set guide=sg or guide=dg")
        self.check_guide(self.guide, f"guide={self.guide}")


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """How a video is sampled and decoded.

    Args:
        autoencoder: the autoencoder whose latents the network knows; left out, as its run says.
        image_encoder: the image encoder, of networks that read one; left out, as the run says.
        quality: "draft" takes 6 steps without guidance, to see what will come; "final" the network's own.
        steps: denoising steps; left out, by the quality.
        guidance_reference: weight of guidance by the picture, 1 is none; left out, by the quality.
        decode_batch: frames decoded at once.
    """

    autoencoder: str | None = None
    image_encoder: str | None = None
    quality: Literal["draft", "final"] = "final"
    steps: Count | None = None
    guidance_reference: NonNegative | None = None
    decode_batch: Count = 8


@dataclass(frozen=True, kw_only=True)
class Driven:
    """Poses that a video follows.

    Args:
        driving: poses to follow: a file of any system that makes them (pose.npz of a clip, OUT.npz of animate,
            DWPose's arrays) or a video of somebody; its sound goes along unless audio is given.
        retarget: bring the driving poses onto the person in the picture: their size, place and bones' lengths.
        guidance_pose: weight of guidance by the poses, 1 is none; left out, by the quality.
        overlap: frames that a window shares with the one before; left out, a quarter of the window.
    """

    driving: Path | None = None
    retarget: bool = True
    guidance_pose: NonNegative | None = None
    overlap: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Remade:
    """Videos that are made anew of clips, to be measured.

    Args:
        autoencoder: the autoencoder whose latents the network knows; left out, as its run says.
        steps: denoising steps; left out, the network's own.
        guidance_reference: weight of guidance by the picture, 1 is none; left out, the network's own.
        reader_steps: of fitting the network that reads lips off frames; some twenty seconds on a core.
        seeds: as everywhere; one where it is left out, since every frame is many steps of a network.
        clips: likewise 12; a verdict needs 10.
        seconds: likewise 4.
    """

    autoencoder: str | None = None
    steps: Count | None = None
    guidance_reference: NonNegative | None = None
    reader_steps: Count = 400
    seeds: list[Seed] = field(default_factory=lambda: [0])
    clips: Count | None = 12
    seconds: Positive | None = 4.0
