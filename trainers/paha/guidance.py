"""Guidance of a video by trained classifiers of regions (PAHA, 4.2)."""

from collections.abc import Callable, Mapping
from typing import Final

from torch import Tensor

from models.diffusion.guiders.regional import Judge, RegionalGuidance, Weights
from models.diffusion.samplers.ddim import DDIM
from models.paha.classifier import PCEClassifier
from models.paha.generate import Sampling, UniVDMSource
from models.paha.regions import Region, region_mask
from models.paha.univdm import UniVDM, UniVDMInputs
from pretrained.exports import Export, find, load_network
from pretrained.frozen import freeze
from pretrained.hashes import short
from settings import ConfigError
from trainers.paha.system import Classifiers, Guide

REGIONS: Final[Mapping[str, Region]] = {"pce_nonface": "nonface", "pce_face": "face"}


class Judges:
    """The classifiers of a guidance.

    Args:
        options: which, and how far.
        network: whose samples they guide.

    Raises:
        ConfigError: no such classifiers, or of another latent space, or that hear other speech.
    """

    def __init__(self, options: Classifiers, network: UniVDM):
        self.options = options
        device = next(network.parameters()).device
        self.classifiers: dict[Region, PCEClassifier] = {}
        self.exports: dict[Region, Export] = {}
        for name, region in REGIONS.items():
            if name in options.given:
                classifier, self.exports[region] = load_classifier(name, getattr(options, name), region, network)
                self.classifiers[region] = classifier.to(device)

    def sampling(self, source: UniVDMSource, box: Tensor, guide: Guide) -> Sampling | None:
        """What samples segments of a video with guidance; None without any.

        Args:
            source: the video's.
            box: (B, 4) of the face, left, top, right, bottom as fractions of what latents cover.
            guide: which.
        """
        if guide == "none":
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
                differential=options.differential if guide == "dg" else "off",
                gradients=options.gradients,
            ).run

        return sample


def _judge(classifier: PCEClassifier, source: UniVDMSource, seen: Tensor, begin: int, end: int) -> Judge:
    """A classifier's loss of some frames of a video, of which it sees its own region."""
    audio = None if source.speech is None else source.speech(begin, end)
    inputs = UniVDMInputs(source.reference * seen[:, :, 0], source.image, audio)

    def judge(z: Tensor, levels: Tensor) -> Tensor:
        return classifier.loss(z * seen, levels, inputs)

    return judge


def load_classifier(option: str, where: str, region: Region, network: UniVDM) -> tuple[PCEClassifier, Export]:
    """A classifier, frozen, and where it comes from.

    Args:
        option: that says where it is, for messages.
        where: a run folder, a saved network or a hub name.
        region: that it has to judge.
        network: whose latents it has to know.

    Raises:
        ConfigError: another network, of another latent space, or one that hears other speech.
    """
    export = find(where, option)
    if export.stage and export.stage != f"paha.pce_{region}":
        raise ConfigError(f"{option}={where} is a network of {export.stage}; one of paha.pce_{region} is needed")
    classifier = freeze(load_network(PCEClassifier, export))
    if classifier.region != region:
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
    return classifier, export
