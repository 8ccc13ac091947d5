"""Guidance of a video by trained classifiers of regions (PAHA, 4.2)."""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from models.diffusion.guiders.regional import Judge, RegionalGuidance, Weights
from models.diffusion.samplers.ddim import DDIM
from models.paha.classifier import PCEClassifier
from models.paha.generate import Sampling, UniVDMSource
from models.paha.regions import Region, region_mask
from models.paha.univdm import UniVDM, UniVDMInputs
from pretrained.exports import find, load_network
from pretrained.frozen import freeze
from pretrained.hashes import short
from settings import ConfigError
from trainers.paha.system import Guided

REGIONS: Final[Mapping[str, Region]] = {"pce_nonface": "nonface", "pce_face": "face"}


class Judges:
    """The classifiers of a guidance.

    Args:
        options: which, and how far.
        network: whose samples they guide.

    Raises:
        ConfigError: no such classifiers, or of another latent space, or that hear other speech.
    """

    def __init__(self, options: Guided, network: UniVDM):
        options.check_guidance()
        self.options = options
        device = next(network.parameters()).device
        self.classifiers: dict[Region, PCEClassifier] = {}
        for name, region in REGIONS.items():
            where = getattr(options, name)
            if where is not None and options.guide != "none":
                self.classifiers[region] = _load(name, where, network).to(device)

    def __bool__(self) -> bool:
        """Whether anything is guided."""
        return bool(self.classifiers)

    def sampling(self, source: UniVDMSource, box: Tensor) -> Sampling | None:
        """What samples segments of a video with guidance; None without any.

        Args:
            source: the video's.
            box: (B, 4) of the face, left, top, right, bottom as fractions of what latents cover.
        """
        if not self:
            return None
        height, width = source.reference.shape[-2:]
        masks = {region: region_mask(box, height, width, region) for region in REGIONS.values()}
        options = self.options

        def sample(sampler: DDIM, begin: int, end: int) -> Callable[[Tensor], Tensor]:
            judges = {
                region: _judge(classifier, source, masks[region], begin, end)
                for region, classifier in self.classifiers.items()
            }
            return RegionalGuidance(
                sampler,
                judges.get("nonface"),
                judges.get("face"),
                (masks["nonface"], masks["face"]),
                rate=options.guide_rate,
                weights=Weights(options.weight_nonface, options.weight_face, options.weight_differential),
                differential=options.differential if options.guide == "dg" else "off",
                gradients=options.gradients,
            ).run

        return sample

    def scores(self, region: Region, latents: Tensor, level: int, source: UniVDMSource, box: Tensor) -> Tensor:
        """What a classifier says of scaled latents (B, C, T, h, w) of the whole video at a noise level, (B,) logits."""
        seen = region_mask(box, latents.shape[-2], latents.shape[-1], region)
        judged = _judge(self.classifiers[region], source, seen, 0, latents.shape[2], scores=True)
        with torch.no_grad():
            return judged(latents, torch.full((len(latents),), level, device=latents.device))


def _judge(
    classifier: PCEClassifier, source: UniVDMSource, seen: Tensor, begin: int, end: int, scores: bool = False
) -> Judge:
    """A classifier's loss, or its scores, of some frames of a video, of which it sees its own region."""
    audio = None if source.speech is None else source.speech(begin, end)
    inputs = UniVDMInputs(source.reference * seen[:, :, 0], source.image, audio)
    asked = classifier if scores else classifier.loss

    def judge(z: Tensor, levels: Tensor) -> Tensor:
        return asked(z * seen, levels, inputs)

    return judge


def _load(option: str, where: str, network: UniVDM) -> PCEClassifier:
    export = find(where, option)
    if export.stage and export.stage != f"paha.{option}":
        raise ConfigError(f"{option}={where} is a network of {export.stage}; one of paha.{option} is needed")
    classifier = freeze(load_network(PCEClassifier, export))
    if classifier.region != REGIONS[option]:
        raise ConfigError(f"{option}={where} judges the {classifier.region}")
    if network.autoencoder and classifier.autoencoder and classifier.autoencoder != network.autoencoder:
        raise ConfigError(
            f"{option}={where} was trained on latents of another autoencoder (its hash begins with "
            f"{short(classifier.autoencoder)}) than the network's ({short(network.autoencoder)}): it cannot judge them"
        )
    for what in ("latent_channels", "audio_context", "image_channels"):
        own, there = getattr(classifier, what), getattr(network, what)
        if own != there:
            raise ConfigError(f"{option}={where} was made for {what}={own}, the network has {there}")
    hears, heard = (tuple(each.audio_projection.shape[1:]) for each in (classifier, network))
    if hears != heard:
        raise ConfigError(
            f"{option}={where} hears {hears[0]} layers of {hears[1]}, the network {heard[0]} of {heard[1]}"
        )
    return classifier
