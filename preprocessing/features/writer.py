"""What a writer of features is, and their list. A new one is an entry here, one in the table of keys, and a module.

A writer makes one key of a clip with one network. It is a class whose keyword-only constructor takes its own options
(`writer.size=[256,256]`), and that says which key it makes, which others it reads, and how to load its network. Reading
shards, decoding in workers, going on after a stop, checking, the index and its statistics (those that the table of
keys names) are not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import yaml
from torch import Tensor, nn

from datamodules.clip import BadSample, ClipInfo
from datamodules.media.fitting import Fit, FitMode
from settings import Registry

WRITERS: Final = Registry(
    "feature writer",
    {
        "implicit_motion": "preprocessing.features.implicit_motion:ImplicitMotionWriter",
        "latents": "preprocessing.features.latents:LatentsWriter",
        "image": "preprocessing.features.image:ImageWriter",
        "speech": "preprocessing.features.speech:SpeechWriter",
        "identity": "preprocessing.features.identity:IdentityWriter",
        "expression": "preprocessing.features.expression:ExpressionWriter",
        "head": "preprocessing.features.head:HeadWriter",
        "chatanyone": "preprocessing.features.chatanyone:ChatAnyoneWriter",
    },
)

Make = Callable[[ClipInfo, Mapping[str, Any], Iterable[Tensor]], Mapping[str, Any]]
"""Makes a key's arrays, but `network`, of a clip: its clip.json, the decoded values of the other keys that are read,
and its frames in parts (n, 3, H, W) uint8 on the network's device (none where video.mp4 is not read). Raises BadSample
for a clip that it cannot use."""


@dataclass(frozen=True)
class Frames:
    """How frames come to the size that a network reads.

    Attributes:
        size: height and width; the video's own where None.
        mode: what happens to frames of another shape.
    """

    size: tuple[int, int] | None = None
    mode: FitMode = "crop"

    def fit(self, info: ClipInfo) -> Fit:
        """For one clip. Raises BadSample where nothing says how large its frames are."""
        size = self.size
        if size is None:
            if not info.height or not info.width:
                raise BadSample("clip.json: no height and width", info.id)
            size = info.height, info.width
        return Fit.of(info.height, info.width, size, self.mode)


@dataclass(frozen=True)
class Loaded:
    """A writer with its network.

    Attributes:
        network: frozen; it is moved to the device that is asked for.
        sha256: of its weights.
        frames: how frames come to it.
        make: see `Make`.
        made_of: what decides what comes out beside input, network and keys left out, as plain values.
    """

    network: nn.Module
    sha256: str
    frames: Frames
    make: Make
    made_of: Mapping[str, Any] = field(default_factory=dict)


class Writer(Protocol):
    """One kind of features. It may have an attribute `also`: keys that it reads where a clip has them.

    Attributes:
        key: that it makes.
        reads: keys that it reads beside clip.json; a clip that lacks one is left out.
        batch: frames at once, where nobody says.
    """

    key: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    batch: ClassVar[int]

    def load(self, network: str, video_fit: FitMode | None) -> Loaded:
        """The network of the option `network`, ready for use.

        Args:
            network: as the user has written it.
            video_fit: what happens to frames of another shape; None leaves it to the writer.

        Raises:
            ConfigError: no such network there, or options that do not go with it.
        """


def trained_fit(network: str) -> FitMode:
    """What happened to oblong frames in the training of a network; "crop" where it does not lie in its run folder."""
    where = Path(network).expanduser()
    for folder in (where, where.resolve().parent):
        if (folder / "config.yaml").is_file():
            data = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")).get("data", {})
            return "pad" if data.get("video_fit") == "pad" else "crop"
    return "crop"
