"""What of a clip is there beside its frames: pose, speech, sound; and what a network hears of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from datamodules.clip import ClipInfo
from datamodules.clips import read_clips
from datamodules.media.fitting import Fit, FitMode
from models.video.speech import heard_features
from settings import ConfigError
from trainers.animation.hearing import layer_numbers
from trainers.evaluation.clips import joined

PICTURE: Final = ("video.mp4", "pose.npz")
IMAGE: Final = ("image.npz",)
SPEECH: Final = ("speech.npz", "audio.flac")


@dataclass(frozen=True)
class Talk:
    """What of a clip, or its first seconds, is there beside its frames.

    Attributes:
        info: its clip.json.
        pose: (T, 134, 3) true pose, as fractions of the fitted frame.
        speech: its speech.npz, cut alike; empty where it has none.
        sound: (N,) at 16 kHz; None where it has none.
        image: (A,) the image encoder's embedding of the first frame; None where it has none.
        more: other keys that were asked for, whole, as they are stored.
    """

    info: ClipInfo
    pose: np.ndarray
    speech: Mapping[str, np.ndarray]
    sound: np.ndarray | None
    image: np.ndarray | None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """T."""
        return len(self.pose)


def load_talks(
    shards: str,
    ids: list[str],
    seconds: float | None,
    size: tuple[int, int] | None,
    how: FitMode,
    keys: Sequence[str] = (),
) -> list[Talk]:
    """The clips with these ids, without their frames.

    Args:
        shards: folder or URL.
        ids: of the clips.
        seconds: only the first seconds of each; None is all.
        size, how: how frames are fitted, as in `trainers.evaluation.videos.read_shots`; poses go with them.
        keys: to read beside pose.npz: those of `SPEECH`, `IMAGE`, and any more.
    """
    talks, further = [], [key for key in keys if key not in (*PICTURE, *SPEECH, *IMAGE)]
    for info, values in read_clips(shards, ("pose.npz", *keys), where={"id": ids}):
        frames = info.frames if seconds is None else min(info.frames, round(seconds * info.fps))
        fit = Fit.of(info.height, info.width, size or (info.height, info.width), how)
        speech = dict(values.get("speech.npz", {}))
        if "handcrafted" in speech:
            speech["handcrafted"] = speech["handcrafted"][:frames]
        if "layers" in speech:
            speech["layers"] = speech["layers"][:, : round(frames / info.fps * 50)]
        sound = values.get("audio.flac")
        sound = None if sound is None else sound[: round(frames / info.fps * 16_000)]
        image = values["image.npz"]["tokens"][0].astype(np.float32) if "image.npz" in values else None
        pose = fit.moved(joined(values["pose.npz"])[:frames])
        talks.append(Talk(info, pose, speech, sound, image, {key: values[key] for key in further}))
    return talks


def heard(
    network: Any, settings: Mapping[str, Any], speech: Mapping[str, np.ndarray], frames: int, clip: str, name: str
) -> np.ndarray:
    """Speech features (F, L, A) of a clip's frames as a network of latent video reads them.

    Args:
        network: with `audio_projection`.
        settings: of its run, which say which layers.
        speech: the clip's speech.npz.
        frames: F.
        clip: id of the clip, for the message.
        name: of the network, likewise.

    Raises:
        ConfigError: the shards hold others.
    """
    _, layers, channels = network.audio_projection.shape
    features = heard_features(speech, frames, layers, channels, layer_numbers(settings))
    if features is None:
        stored = speech["layer_ids"].tolist() if "layers" in speech else []
        raise ConfigError(
            f"{clip} holds {f'layers {stored}' if stored else 'no layers'} of a speech network; {name} listens to "
            f"{layers} layers of {channels}: give data=SHARDS that hold them"
        )
    return features.numpy()
