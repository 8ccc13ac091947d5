"""Networks that tell people apart by an aligned face, and what stands in for one (VA-13)."""

import hashlib
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np

from models.human.aligned_face import ARCFACE_SIDE, arcface_crops, five_points
from pretrained.weights import Published, WeightsSource, advice, find_file
from settings import ConfigError

COLOURS: Final = "colours"
"""Stands in the place of a file of weights for the embedding that needs none."""
_LIGHT, _COLOUR = (16, 16), (16, 8)
"""Rows and columns of what `FaceColours` sees of lightness, and of each of the two colours."""
R50: Final = Published(
    "ArcFace ResNet-50 of WebFace600K",
    ("w600k_r50.onnx",),
    "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
    "insightface, buffalo_l.zip of https://github.com/deepinsight/insightface/releases/tag/v0.7",
)
R100: Final = Published(
    "ArcFace ResNet-100 of Glint360K",
    ("glintr100.onnx",),
    "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
    "insightface, antelopev2.zip of https://github.com/deepinsight/insightface/releases/tag/v0.7",
)


class FaceNetwork(Protocol):
    """Tells people apart.

    Attributes:
        channels: of an embedding.
        source: which network it is.
        sha256: of its weights, or of what decides the embedding where there are none.
    """

    channels: int
    source: WeightsSource
    sha256: str

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """Embeddings (N, D) of aligned faces (N, 112, 112, 3), uint8 RGB."""
        ...


class ArcFace:
    """insightface's ArcFace in onnxruntime: faces (N, 112, 112, 3) uint8 RGB to embeddings (N, 512).

    Args:
        weights: `w600k_r50.onnx` or `glintr100.onnx`, a folder that holds one of them, or a hub name.

    Raises:
        ConfigError: no such file, or one with other inputs and outputs.
    """

    def __init__(self, weights: str | Path) -> None:
        import onnxruntime

        self.path, self.source = find_file(weights, R50, R100)
        self.sha256 = self.source.sha256
        there = onnxruntime.get_available_providers()
        providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in there]
        try:
            self._session = onnxruntime.InferenceSession(str(self.path), providers=providers)
        except Exception as error:  # onnxruntime has a dozen kinds of its own for damaged files, with no common parent
            raise ConfigError(
                f"{self.path} is not an ONNX file that can be used ({str(error).splitlines()[0]}); "
                f"{advice((R50, R100))}"
            ) from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or list(inputs[0].shape[1:]) != [3, ARCFACE_SIDE, ARCFACE_SIDE]:
            raise ConfigError(f"{self.path} has other inputs or outputs than ArcFace has; {advice((R50, R100))}")
        self._input = inputs[0].name
        self._batch = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else 32
        self.channels = outputs[0].shape[-1]

    def __reduce__(self) -> tuple[Any, ...]:
        return ArcFace, (self.path,)

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """Embeddings (N, D) of faces (N, 112, 112, 3), uint8 RGB; not scaled to length 1."""
        scaled = (faces.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 127.5
        starts = range(0, len(scaled), self._batch)
        return np.concatenate(
            [self._session.run(None, {self._input: scaled[at : at + self._batch]})[0] for at in starts]
        )


class FaceColours:
    """512 numbers of an aligned face that need no weights: its lightness and colours at few places (ours).

    They tell people apart who look unlike, and change with the light: no likeness to be reported. What was trained on
    them says so, by `source`.
    """

    channels = _LIGHT[0] * _LIGHT[1] + 2 * _COLOUR[0] * _COLOUR[1]
    source = WeightsSource("no face network, colours of the aligned face")
    sha256 = hashlib.sha256(b"aligned face, lightness 16 x 16, colours 16 x 8").hexdigest()

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """Embeddings (N, 512) of faces (N, 112, 112, 3), uint8 RGB."""
        found = []
        for face in faces:
            planes = np.moveaxis(cv2.cvtColor(face, cv2.COLOR_RGB2YCrCb).astype(np.float32) / 127.5 - 1, -1, 0)
            sizes = (_LIGHT, _COLOUR, _COLOUR)
            small = (cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA) for plane, size in zip(planes, sizes))
            found.append(np.concatenate([plane.ravel() for plane in small]))
        return np.stack(found) if found else np.zeros((0, self.channels), np.float32)


def load_face_network(option: str, where: str, instead: str | None = None) -> FaceNetwork:
    """A network that tells people apart, by name.

    Args:
        option: name of the option that says where it is, for messages.
        where: "colours" for `FaceColours`; else a file of ArcFace's format, a folder that holds one, or a hub name.
        instead: what to do without one, for messages; None names "colours".

    Raises:
        ConfigError: no such file, or one of another network.
    """
    if where == COLOURS:
        return FaceColours()
    try:
        return ArcFace(where)
    except ConfigError as error:
        raise ConfigError(f"{option}={error}; {instead or f'without one, {option}={COLOURS} does with less'}") from None


def face_network_hash(option: str, where: str) -> str:
    """SHA-256 of a network that tells people apart, by name, for those who have its embeddings and not the network.

    Args:
        option: name of the option that says which it is, for messages.
        where: as `load_face_network` takes it; the name of a published file will do where there is no file.

    Raises:
        ConfigError: no such file, and no published one of that name.
    """
    if where == COLOURS:
        return FaceColours.sha256
    published = [each.sha256 for each in (R50, R100) if where in each.names]
    if published and not Path(where).exists():
        return published[0]
    try:
        return find_file(where, R50, R100)[1].sha256
    except ConfigError as error:
        raise ConfigError(
            f"{option}={error}; where embeddings are there, the name of a published file ({R50.names[0]}, "
            f"{R100.names[0]}) will do without the file, and {COLOURS} is the network that needs none"
        ) from None


def embeddings(network: FaceNetwork, frames: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Embeddings (N, D) of the faces of frames; zeros where a face is not wholly seen (VA-13).

    Args:
        network: tells people apart.
        frames: (N, H, W, 3) uint8 RGB.
        pose: (N, 134, 3) x and y as fractions of the frame, score.
    """
    points = five_points(pose)
    there = ~np.isnan(points).any((1, 2))
    found = np.zeros((len(frames), network.channels), np.float32)
    if there.any():
        found[there] = network(arcface_crops(frames[there], points[there]))
    return found
