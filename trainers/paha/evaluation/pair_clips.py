"""Pairs of a filmed and a generated clip, as a classifier is asked about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.clips import read_clips
from datamodules.shards.index import Index
from models.paha.classifier import PCEClassifier
from pretrained.hashes import short
from settings import ConfigError, get_logger
from trainers.evaluation.clips import evenly, ids_of
from trainers.evaluation.talks import heard

KEYS: Final = ("latents.npz", "pair.npz", "speech.npz")
REAL: Final = "real"
MADE: Final = "made"
logger = get_logger(__name__)


@dataclass(frozen=True)
class Side:
    """One clip of a pair.

    Attributes:
        info: its clip.json.
        mean, log_variance: (T, C, h, w) of its latents, which have passed decoder and video encoder; not scaled, in
            half precision, as they are stored.
        speech: (T, L, A) as the classifier hears it.
        plain: (T, C, h, w) latents that have not; None where they were not kept.
    """

    info: ClipInfo
    mean: Tensor
    log_variance: Tensor
    speech: Tensor
    plain: Tensor | None

    @property
    def frames(self) -> int:
        """T."""
        return len(self.mean)


@dataclass(frozen=True)
class PairClips:
    """Both, with what they share.

    Attributes:
        id: of the pair.
        clip: of the picture: pairs of one clip are no two samples of people.
        real, made: filmed and generated.
        reference: (C, h, w) latents of the picture, not scaled.
        image: (A,) the image encoder's embedding of it, or None.
        box: (4,) of the face.
    """

    id: str
    clip: str
    real: Side
    made: Side
    reference: Tensor
    image: Tensor | None
    box: Tensor

    @property
    def frames(self) -> int:
        """Of both."""
        return min(self.real.frames, self.made.frames)


def pairs_of(index: Index, split: str, limit: int | None) -> list[str]:
    """Pairs of a split of which both clips are there, at most `limit`, evenly taken.

    Raises:
        ConfigError: there is none.
    """
    sides: dict[str, set[str]] = {}
    for clip in ids_of(index, split, KEYS):
        pair, _, side = clip.rpartition("-")
        sides.setdefault(pair, set()).add(side)
    whole = [pair for pair, found in sides.items() if {REAL, MADE} <= found]
    alone = [pair for pair in sides if pair not in set(whole)]
    if alone:
        logger.warning("%s: %d pairs lack a clip and are left out (%s)", split, len(alone), ", ".join(alone[:3]))
    if not whole:
        raise ConfigError(
            f"{split} holds no pair of a filmed and a generated clip (IDs that end in -{REAL} and -{MADE}); make them "
            "with `python -m preprocessing.negatives`"
        )
    return evenly(whole, limit)


def load_pairs(
    shards: str,
    pairs: Sequence[str],
    network: PCEClassifier,
    settings: Mapping[str, Any],
    name: str,
    seconds: float | None = None,
) -> list[PairClips]:
    """The pairs with these ids.

    Args:
        shards: folder or URL.
        pairs: their ids.
        network: that is asked.
        settings: of its run.
        name: of it, for messages.
        seconds: only the first seconds of each; None is all.

    Raises:
        ConfigError: latents of another autoencoder, or another image encoder's embedding, or other speech.
    """
    found: dict[str, tuple[Side, dict[str, Any]]] = {}
    ids = [f"{pair}-{side}" for pair in pairs for side in (REAL, MADE)]
    for info, values in read_clips(shards, KEYS, where={"id": ids}):
        found[info.id] = _side(info, values, network, settings, name, seconds), values["pair.npz"]
    output = []
    for pair in pairs:
        if any(f"{pair}-{side}" not in found for side in (REAL, MADE)):
            continue  # damaged, which the reader has said
        (real, about), (made, _) = (found[f"{pair}-{side}"] for side in (REAL, MADE))
        image = about.get("tokens")
        if network.image_channels and (image is None or len(image) != network.image_channels):
            raise ConfigError(
                f"{pair}: pair.npz holds {'no' if image is None else len(image)} numbers of an image encoder, {name} "
                f"reads {network.image_channels}"
            )
        sources = real.info.extra.get("sources") or [{"id": pair}]
        output.append(
            PairClips(
                pair,
                str(sources[0]["id"]),
                real,
                made,
                torch.from_numpy(about["reference"]).float(),
                torch.from_numpy(image).float() if network.image_channels else None,
                torch.from_numpy(about["box"]).float(),
            )
        )
    return output


def _side(
    info: ClipInfo,
    values: Mapping[str, Any],
    network: PCEClassifier,
    settings: Mapping[str, Any],
    name: str,
    seconds: float | None,
) -> Side:
    latents, pair = values["latents.npz"], values["pair.npz"]
    own = bytes(latents["network"]).hex()
    if network.autoencoder and own != network.autoencoder:
        raise ConfigError(
            f"{info.id}: its latents are of another autoencoder (its hash begins with {short(own)}) than those that "
            f"{name} knows ({short(network.autoencoder)})"
        )
    count = info.frames if seconds is None else min(info.frames, round(seconds * info.fps))
    speech = heard(network, settings, values["speech.npz"], info.frames, info.id, name)
    plain = pair.get("plain")
    return Side(
        info,
        torch.from_numpy(latents["mean"][:count]),
        torch.from_numpy(latents["log_variance"][:count]),
        torch.from_numpy(speech[:count]).float(),
        None if plain is None else torch.from_numpy(plain[:count]),
    )
