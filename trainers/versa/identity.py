"""Whose face a picture shows, to the face network that a video network was trained with (VA-13)."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from datamodules.clips import read_clips
from datamodules.media.files import MediaError
from datamodules.shards.index import Index, IndexFileError
from models.versa.video.network import VersaVideo
from pretrained.exports import Export
from pretrained.faces import COLOURS, FaceColours, FaceNetwork, embeddings, load_face_network
from pretrained.hashes import short
from settings import ConfigError

OFF: Final = "off"
"""Stands in the place of a face network for none."""


def face_network_of(export: Export, video: VersaVideo, given: str | None) -> FaceNetwork:
    """The face network that a video network was trained with, by name.

    Args:
        export: the video network as it is saved; its run says what the face network was called (`stage.identity`).
        video: the same, loaded; it knows the hash.
        given: name of the face network; None is as the run says, where it says nothing the one that needs no weights.

    Raises:
        ConfigError: it is not there, has other channels, or is another than the one that the video network, or the
            shards of a run that does not name it, were made with.
    """
    name = given or export.settings.get("stage", {}).get("identity") or COLOURS
    instead = (
        "give identity=FILE, the network that `python -m preprocessing.features writer=identity` was told, or "
        f"identity={OFF}"
    )
    network = load_face_network("identity", name, instead)
    trained = video.face_network or trained_with(export.settings.get("data", {}))
    channels = video.face_tokens.identity_channels
    if network.channels != channels or trained not in (None, network.sha256):
        said = f"one of {channels} channels" if trained is None else f"one whose hash begins with {short(trained)}"
        if trained == FaceColours.sha256:
            said = COLOURS
        raise ConfigError(f"identity={name}: {export.name} was trained with another face network, {said}: {instead}")
    return network


def trained_with(data: Mapping[str, Any]) -> str | None:
    """SHA-256 of the face network that made identity.npz of shards; None where it or they are not there.

    Args:
        data: that section of a run's config.
    """
    try:
        index = Index.load(data["shards"])
    except (IndexFileError, KeyError, TypeError):
        return None
    ids = [sample.id for shard in index.shards for sample in shard.samples if "identity.npz" in sample.keys]
    for _, values in read_clips(data["shards"], ("identity.npz",), where={"id": ids[:1]}) if ids else ():
        return bytes(values["identity.npz"]["network"].tolist()).hex()
    return None


def identity_of(network: FaceNetwork, picture: np.ndarray, person: np.ndarray, name: str) -> Tensor:
    """Embedding (1, A) of the face in a picture.

    Args:
        network: tells people apart.
        picture: (H, W, 3) uint8 RGB.
        person: (134, 3) the person in it, as fractions of it and scores.
        name: of the picture, for the message.

    Raises:
        MediaError: no whole face is seen.
    """
    found = embeddings(network, picture[None], person[None])
    if not found.any():
        raise MediaError(
            f"{name}: no whole face is seen in it (eyes, nose and mouth), and the network pays attention to the face: "
            f"give a picture from the front, or identity={OFF}"
        )
    return torch.from_numpy(found)
