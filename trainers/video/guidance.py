"""Guidance of a video by trained classifiers of regions (PAHA, 4.2)."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from models.diffusion.guiders.regional import Judge, RegionalGuidance, Sampler, Sampling, Weights
from models.paha.classifier import PCEClassifier
from models.paha.regions import Region, region_mask
from models.paha.univdm import UniVDMInputs
from pretrained.exports import Export, find, load_network
from pretrained.frozen import freeze
from pretrained.hashes import short
from settings import ConfigError
from trainers.video.options import Classifiers, Guide, Guided

REGIONS: Final[Mapping[str, Region]] = {"pce_nonface": "nonface", "pce_face": "face"}


class Judged(NamedTuple):
    """What classifiers know of a video beside its latents.

    Attributes:
        reference: (B, C, h, w) scaled latents of the picture.
        image: (B, K, A) the image encoder's tokens of it.
        speech: gives (B, n, 2 m + 1, L, A), the speech of the frames from the first number to, not including, the
            second.
    """

    reference: Tensor
    image: Tensor | None
    speech: Callable[[int, int], Tensor]


class Judges:
    """The classifiers of a guidance, of any network of latent video that shares their latents, noise and speech.

    Args:
        options: which, and how far.
        network: whose samples they guide.

    Raises:
        ConfigError: no such classifiers, or of another latent space, or that hear other speech.
    """

    def __init__(self, options: Classifiers, network: Any):
        self.options = options
        device = next(network.parameters()).device
        self.classifiers: dict[Region, PCEClassifier] = {}
        self.exports: dict[Region, Export] = {}
        for name, region in REGIONS.items():
            if name in options.given:
                classifier, self.exports[region] = load_classifier(name, getattr(options, name), region, network)
                self.classifiers[region] = classifier.to(device)

    def sampling(
        self,
        source: Judged,
        box: Tensor,
        guide: Guide,
        faces: Callable[[int, int], Tensor] | None = None,
    ) -> Sampling | None:
        """What samples windows of a video with guidance; None without any.

        Args:
            source: the video's.
            box: (B, 4) of the face, left, top, right, bottom as fractions of what latents cover: what classifiers see
                of it, as in their training.
            guide: which.
            faces: gives (B, n, 4), the boxes of the frames from the first number to, not including, the second, where
                poses are known: what is corrected then; that of `box` in every frame where None.
        """
        if guide == "none":
            return None
        height, width = source.reference.shape[-2:]
        seen = {region: region_mask(box, height, width, region) for region in REGIONS.values()}
        options = self.options

        def sample(sampler: Sampler, begin: int, end: int) -> Callable[[Tensor], Tensor]:
            judges = {
                region: _judge(classifier, source, seen[region], begin, end)
                for region, classifier in self.classifiers.items()
            }
            corrected = seen if faces is None else _of_frames(faces(begin, end), height, width)
            return RegionalGuidance(
                sampler,
                judges.get("nonface"),
                judges.get("face"),
                (corrected["nonface"], corrected["face"]),
                rate=options.guide_rate,
                weights=Weights(options.weight_nonface, options.weight_face, options.weight_differential),
                differential=options.differential if guide == "dg" else "off",
                gradients=options.gradients,
            ).run

        return sample


def judges_of(options: Guided, network: Any) -> Judges | None:
    """The classifiers that are asked for; None where nothing is guided. Raises ConfigError as `Judges` does."""
    options.check_guidance()
    return None if options.guide == "none" else Judges(options, network)


def _of_frames(boxes: Tensor, height: int, width: int) -> dict[Region, Tensor]:
    """Masks (B, 1, n, h, w) of boxes (B, n, 4)."""
    masks = {
        region: region_mask(boxes.flatten(0, 1), height, width, region).view(*boxes.shape[:2], 1, height, width)
        for region in REGIONS.values()
    }
    return {region: mask.transpose(1, 2) for region, mask in masks.items()}


def _judge(classifier: PCEClassifier, source: Judged, seen: Tensor, begin: int, end: int) -> Judge:
    """A classifier's loss of some frames of a video, of which it sees its own region."""
    inputs = UniVDMInputs(source.reference * seen[:, :, 0], source.image, source.speech(begin, end))

    def judge(z: Tensor, levels: Tensor) -> Tensor:
        return classifier.loss(z * seen, levels, inputs)

    return judge


def load_classifier(option: str, where: str, region: Region, network: Any) -> tuple[PCEClassifier, Export]:
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
    # A network that came alone is tagged with both stages: it says itself what it judges.
    if export.stage and not export.stage.startswith("paha.pce_"):
        raise ConfigError(f"{option}={where} is a network of {export.stage}; one of paha.pce_{region} is needed")
    classifier = freeze(load_network(PCEClassifier, export))
    if classifier.region != region:
        judges = "the face" if classifier.region == "face" else "all but the face"
        raise ConfigError(f"{option}={where} judges {judges}; one of paha.pce_{region} is needed")
    if network.autoencoder and classifier.autoencoder and classifier.autoencoder != network.autoencoder:
        raise ConfigError(
            f"{option}={where} was trained on latents of another autoencoder (its hash begins with "
            f"{short(classifier.autoencoder)}) than the network's ({short(network.autoencoder)}): it cannot judge them"
        )
    for what in ("latent_channels", "audio_context", "image_channels"):
        own, there = getattr(classifier, what), getattr(network, what)
        if own != there:
            raise ConfigError(f"{option}={where} was made for {what}={own}, the network has {there}")
    if not torch.equal(classifier.noise.alphas_cumprod, network.noise.alphas_cumprod):
        raise ConfigError(
            f"{option}={where} knows other noise than the network: {_noise(classifier)}, the network {_noise(network)}"
        )
    hears, heard = (tuple(each.audio_projection.shape[1:]) for each in (classifier, network))
    if hears != heard:
        raise ConfigError(
            f"{option}={where} hears {hears[0]} layers of {hears[1]}, the network {heard[0]} of {heard[1]}"
        )
    return classifier, export


def _noise(network: Any) -> str:
    noise = network.noise
    return f"{noise.schedule}, {noise.train_steps} steps, zero_terminal_snr={str(noise.zero_terminal_snr).lower()}"
