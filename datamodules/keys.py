"""The table of clip keys: what each holds, how a batch has it, what statistics are kept of it, what makes it.

A new key is one entry here and something that writes it (`preprocessing/features/` for what a network makes). Checking,
reading, windows, batches, statistics, plans and the comparison of a stage with its data follow the table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

import numpy as np

SAMPLE_RATE: Final = 16_000
SPEECH_RATE: Final = 50
MOTION_RATE: Final = 20
VIDEO: Final = "video.mp4"
LATENTS: Final = "latents.npz"
CHATANYONE: Final = "chatanyone.npz"
Latents = Literal["cached", "encode"]
"""Where a stage's latents come from: shards hold them, or it encodes frames in every step."""
RATES: Final[Mapping[str, int | None]] = {"T": None, "S": SPEECH_RATE, "M": MOTION_RATE, "N": SAMPLE_RATE}
"""Letters of sizes that grow with time, and how many a second; None is the clip's frame rate."""
PICTURE: Final = ("H", "W", "h", "w")
"""Height and width of the frames, and what of them latents have: an eighth, mostly."""


@dataclass(frozen=True)
class Array:
    """One array of a key.

    Attributes:
        shape: sizes, or letters for a size: those of `RATES` and `PICTURE`, any other is open.
        dtype: as stored.
        meaning: unit and order, for the documentation.
        low, high: range of every number, None where open.
        optional: may be left out.
        usual: by letter, what open sizes mostly are; plans take them where a config says nothing.
        channels: name of the last size, where stages and data have to agree on it: the fact's (`ClipDataModule.facts`),
            and that of a network's option which plans look at.
        picture: "points" or "boxes" in fractions of the frame, which move where frames are fitted into another shape.
        padding: what stands behind the end of a shorter clip in a batch.
    """

    shape: tuple[int | str, ...]
    dtype: str
    meaning: str
    low: float | None = None
    high: float | None = None
    optional: bool = False
    usual: Mapping[str, int] = field(default_factory=dict)
    channels: str | None = None
    picture: Literal["points", "boxes"] | None = None
    padding: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        for size in self.shape:
            if isinstance(size, str) and size not in (*RATES, *PICTURE, *self.usual):
                raise ValueError(f"array of shape {self.shape}: say in `usual` what {size} mostly is")

    @cached_property
    def time(self) -> int | None:
        """The axis that grows with time; None where none does."""
        return next((axis for axis, size in enumerate(self.shape) if size in RATES), None)

    @cached_property
    def rate(self) -> int | None:
        """Steps a second along that axis; None is the clip's frame rate."""
        return None if self.time is None else RATES[str(self.shape[self.time])]


class WindowArray(NamedTuple):
    """An array that windows are cut of: its name in the key, the field of a batch that it goes to, `Array`'s own."""

    name: str
    field: str
    array: Array
    time: int | None
    rate: int | None


@dataclass(frozen=True)
class Statistic:
    """Mean and standard deviation of an array's rows over the training split, kept with the index.

    Attributes:
        name: in the index.
        array: of the key, (T, *shape).
        shape: of a row; () where it is open, and that of the first clip's.
        weights: array (T, ...) whose numbers above 0 say what counts; all does where None.
        about_clip: deviation from the clip's own mean: how far things move; its mean is left out.
        always: in every index, also where nothing was counted (mean 0, deviation 1).
    """

    name: str
    array: str
    shape: tuple[int, ...]
    weights: str | None = None
    about_clip: bool = False
    always: bool = False


@dataclass(frozen=True)
class Key:
    """One key of a clip.

    Attributes:
        name: with its ending; npz holds `arrays`, the others one array of the key's own name.
        arrays: as stored.
        made_by: what to do where shards lack it.
        fields: array to the field of `Batch` that it is, None leaves it out; any other is `Batch.arrays[stem][array]`.
        read: from the arrays as stored to those that windows are cut of, `as_read`.
        as_read: `arrays` where None.
        whole: arrays that a stage gets in full length where it asks for `whole/<name>`; all that grow with time
            where None.
        statistics: kept with the index.
        compressed: stored so; noise, which hardly shrinks, is read far faster as it is.
    """

    name: str
    arrays: Mapping[str, Array]
    made_by: str
    fields: Mapping[str, str | None] = field(default_factory=dict)
    read: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None
    as_read: Mapping[str, Array] | None = None
    whole: tuple[str, ...] | None = None
    statistics: tuple[Statistic, ...] = ()
    compressed: bool = True

    @cached_property
    def stem(self) -> str:
        """The name without its ending."""
        return self.name.partition(".")[0]

    @cached_property
    def places(self) -> tuple[WindowArray, ...]:
        """The arrays that windows are cut of, and where each goes ("face.boxes" is in `Batch.arrays`)."""
        arrays = self.arrays if self.as_read is None else self.as_read
        return tuple(
            WindowArray(name, where, array, array.time, array.rate)
            for name, array in arrays.items()
            if (where := self.fields.get(name, f"{self.stem}.{name}")) is not None
        )

    @cached_property
    def in_full(self) -> tuple[WindowArray, ...]:
        """Those of them that `whole/<name>` brings."""
        asked = self.whole
        return tuple(p for p in self.places if (p.time is not None if asked is None else p.name in asked))


_POINT: Final = np.dtype([("xy", "V8"), ("score", "f4")])


def _join(pose: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(T, 134, 2) and (T, 134) as (T, 134, 3); copying points whole is several times faster than np.concatenate."""
    points = np.empty(pose["scores"].shape, _POINT)
    points["xy"] = np.ascontiguousarray(pose["keypoints"]).view("V8")[..., 0]
    points["score"] = pose["scores"]
    return {"pose": points.view(np.float32).reshape(*pose["scores"].shape, 3)}


_VIDEOS: Final = "make shards from videos with `python -m preprocessing.run`"
_FEATURES: Final = "make shards with it by `python -m preprocessing.features`"
_FRAME: Final = Array(
    (3,),
    "int32",
    "height and width of the frames that the network saw; oblong ones were cropped (0) or put between bars (1)",
    0,
)
_HASH: Final = Array((32,), "uint8", "SHA-256 of the weights of the network that made them")

_TABLE: Final = (
    Key("clip.json", {}, _VIDEOS),
    Key(
        "video.mp4",
        {"video": Array(("T", 3, "H", "W"), "uint8", "RGB frames; decoded window by window")},
        f"{_VIDEOS}, and do not drop it later",
        fields={"video": "video"},
    ),
    Key(
        "audio.flac",
        {"audio": Array(("N",), "float32", "sound in [-1, 1], 16 kHz mono")},
        "make shards from videos with sound",
        fields={"audio": "audio"},
    ),
    Key(
        "pose.npz",
        {
            "keypoints": Array(
                ("T", 134, 2), "float32", "x, y as fractions of the frame; (-1, -1) where missing", picture="points"
            ),
            "scores": Array(("T", 134), "float32", "confidence; 0 where missing", 0, 1),
        },
        _VIDEOS,
        fields={"pose": "pose"},
        read=_join,
        as_read={
            "pose": Array(("T", 134, 3), "float32", "x, y, score", picture="points", padding=(-1.0, -1.0, 0.0)),
        },
        statistics=(
            Statistic("pose", "keypoints", (134, 2), weights="scores", always=True),
            Statistic("pose_motion", "keypoints", (134, 2), weights="scores", about_clip=True, always=True),
        ),
    ),
    Key(
        "motion.npz",
        {"motion": Array(("M", 263), "float32", "HumanML3D motion vector at 20 fps (VA-1)")},
        "make shards of motion with `python -m preprocessing.motion`",
        fields={"motion": "motion"},
        statistics=(Statistic("body_motion", "motion", (263,)),),
    ),
    Key(
        "face.npz",
        {
            "boxes": Array(
                ("T", 4), "float32", "face: left, top, right, bottom as fractions of the frame; -1 where missing",
                picture="boxes",
            ),
            "lip_boxes": Array(("T", 4), "float32", "lips: as boxes", picture="boxes"),
            "scores": Array(("T",), "float32", "confidence; 0 where missing", 0, 1),
            "blink": Array(("T",), "float32", "eye height over eye width, mean of both eyes; 0 where missing", 0),
            "head_pose": Array(("T", 3), "float32", "yaw, pitch, roll in degrees; 0 where missing", -180, 180),
            "landmarks": Array(
                ("T", "L", 3), "float32", "x, y, depth as fractions of the frame; -1 where missing",
                usual={"L": 478}, picture="points",
            ),
        },
        _VIDEOS,
    ),
    Key(
        "smplx.npz",
        {
            "global_orient": Array(("T", 3), "float32", "axis-angle"),
            "body_pose": Array(("T", 63), "float32", "axis-angle of 21 joints"),
            "left_hand_pose": Array(("T", 45), "float32", "axis-angle of 15 joints"),
            "right_hand_pose": Array(("T", 45), "float32", "axis-angle of 15 joints"),
            "jaw_pose": Array(("T", 3), "float32", "axis-angle"),
            "expression": Array(("T", "E"), "float32", "coefficients", usual={"E": 10}),
            "transl": Array(("T", 3), "float32", "metres"),
            "betas": Array(("K",), "float32", "shape coefficients", usual={"K": 10}),
            "camera": Array(
                ("C",), "float32", "focal length and principal point as fractions of the frame width", usual={"C": 3}
            ),
            "error": Array(("T",), "float32", "mean 2D distance of the fit as a fraction of body height", 0),
        },
        f"{_VIDEOS} and `smplx=fit`",
    ),
    Key(
        "speech.npz",
        {
            "handcrafted": Array(
                ("T", 35), "float32", "onset strength, 20 MFCC, 12 chroma, onset peak, beat (MMGT-6)",
                channels="speech_channels",
            ),
            "layers": Array(
                ("L", "S", "C"), "float16", "features of a pretrained model at 50 Hz", optional=True,
                usual={"L": 1, "C": 1024}, channels="layer_channels",
            ),
            "layer_ids": Array(("L",), "int16", "which layers these are", optional=True, usual={"L": 1}),
            "network": Array((32,), "uint8", "SHA-256 of the network that made the layers", optional=True),
        },
        "make shards from videos with sound, with speech features (`python -m preprocessing.run`)",
        fields={"handcrafted": "speech", "layers": "speech_layers", "layer_ids": None, "network": None},
        whole=("handcrafted",),
        statistics=(Statistic("handcrafted", "handcrafted", (35,), always=True),),
    ),
    Key(
        "latents.npz",
        {
            "mean": Array(("T", "C", "h", "w"), "float16", "of the autoencoder's latents, unscaled", usual={"C": 4}),
            "log_variance": Array(("T", "C", "h", "w"), "float16", "of the same", usual={"C": 4}),
            "frame": Array(
                (3,), "int32", "height and width of the frames that were encoded; oblong ones were cropped (0) or put "
                "between bars (1)", 0, optional=True,
            ),
            "network": _HASH,
        },
        f"{_FEATURES} (writer=latents), or set data.latents=encode",
        compressed=False,
    ),
    Key(
        "image.npz",
        {
            "tokens": Array(
                ("T", "A"), "float16", "embedding of each frame by an image encoder", usual={"A": 768},
                channels="image_channels",
            ),
            "network": _HASH,
        },
        f"{_FEATURES} (writer=image), or set stage.network.image_channels=0",
        compressed=False,
    ),
    Key(
        "pair.npz",
        {
            "generated": Array((1,), "uint8", "1 where a network made the frames, 0 where they were filmed", 0, 1),
            "reference": Array(("C", "h", "w"), "float16", "latents of the pair's picture, unscaled", usual={"C": 4}),
            "tokens": Array(
                ("A",), "float16", "embedding of that picture by an image encoder", optional=True, usual={"A": 768},
                channels="image_channels",
            ),
            "box": Array(
                (4,), "float32", "the face in both clips of a pair: left, top, right, bottom as fractions of the frame",
                0, 1,
            ),
            "plain": Array(
                ("T", "C", "h", "w"), "float16", "latents that have not passed decoder and video encoder, unscaled",
                optional=True, usual={"C": 4},
            ),
            "network": _HASH,
        },
        "make pairs with `python -m preprocessing.negatives`",
        fields={"plain": None},
        compressed=False,
    ),
    Key(
        "identity.npz",
        {
            "embedding": Array(
                ("T", "A"), "float16", "embedding of each frame's face by a face network, zeros where it is not seen",
                usual={"A": 512}, channels="identity_channels",
            ),
            "network": _HASH,
        },
        f"{_FEATURES} (writer=identity), or set stage.network.face_attention=false",
        compressed=False,
    ),
    Key(
        "expression.npz",
        {
            "labels": Array(
                ("T",), "int16", "number of the expression (models/human/expressions.py); -1 where no face is seen", -1,
                padding=-1,
            ),
            "scores": Array(("T",), "float32", "how likely it is", 0, 1),
            "network": _HASH,
        },
        f"{_FEATURES} (writer=expression), or set stage.expression=manifest",
    ),
    Key(
        "head.npz",
        {
            "expression": Array(("T", 16), "float32", "coefficients of the head template, by usual spread (CA-1)"),
            "pose": Array(
                ("T", 6), "float32", "of the head: axis-angle, radians; x, y and further away, heights of the frame"
            ),
            "identity": Array((8,), "float32", "whose head it is, coefficients of the template"),
            "error": Array(
                ("T",), "float32", "mean distance of the fit, heights of the frame; -1 where no face is seen from the "
                "front, and the numbers are those between the frames around", -1, padding=-1,
            ),
            "network": _HASH,
        },
        f"{_FEATURES} (writer=head)",
        statistics=(
            Statistic("head", "expression", (16,), weights="error"),
            Statistic("head_pose", "pose", (6,), weights="error", about_clip=True),
        ),
    ),
    Key(
        CHATANYONE,
        {
            "head": Array(
                ("T", 59, 3), "float32", "the head's key points without their offset, on the renderer's grid: -1 to 1 "
                "across and down, and depth (CA-1)",
            ),
            "seen": Array(("T",), "float32", "1 where a head is seen", 0, 1),
            "offset": Array(("T", 59, 3), "float32", "dX of the head's key points, on the grid (CA-1)"),
            "movement": Array(
                ("T", "J"), "float32", "delta of the body's implicit key points, three numbers each (CA-2)",
                usual={"J": 63}, channels="movement_channels",
            ),
            "scale": Array(("T", 1), "float32", "s of the body's key points (CA-2)", 0),
            "place": Array(("T", 3), "float32", "t of the body's key points, on the grid (CA-2)"),
            "appearance": Array(
                ("A",), "float32", "appearance of the first frame with a head (CA-9)",
                usual={"A": 512}, channels="appearance_channels",
            ),
            "frame": _FRAME,
            "network": _HASH,
        },
        f"{_FEATURES} (writer=chatanyone)",
        statistics=(
            Statistic("chatanyone", "head", (59, 3), weights="seen", about_clip=True),
            Statistic("chatanyone_offset", "offset", (59, 3), weights="seen", about_clip=True),
            Statistic("chatanyone_movement", "movement", (), about_clip=True),
            Statistic("chatanyone_scale", "scale", (1,), about_clip=True),
            Statistic("chatanyone_place", "place", (3,), about_clip=True),
        ),
    ),
    Key(
        "implicit.npz",
        {
            "motion": Array(("T", 768), "float32", "motion features of implicit_motion.base (IM-4)"),
            "appearance": Array(
                ("A",), "float32", "appearance of the first frame (IM-3)",
                usual={"A": 512}, channels="appearance_channels",
            ),
            "network": _HASH,
        },
        f"{_FEATURES}, or set stage.features=video",
        statistics=(
            Statistic("implicit", "motion", (768,)),
            Statistic("implicit_motion", "motion", (768,), about_clip=True),
        ),
    ),
)  # fmt: skip

KEYS: Final[dict[str, Key]] = {key.name: key for key in _TABLE}
"""Every key by its name, in the order in which a sample holds them."""


def keys_read(keys: Sequence[str], latents: Latents) -> tuple[str, ...]:
    """The keys that are decoded for those that a stage asks for: frames in the place of latents, where it encodes."""
    stands = {LATENTS: VIDEO} if latents == "encode" else {}
    return tuple(dict.fromkeys(stands.get(key, key) for key in keys))


def array_of(name: str) -> Array | None:
    """The array that a field of a batch is ("pose", "face.boxes", "whole.audio"); None of one that no key has."""
    name = name.removeprefix("whole.")
    return next((place.array for key in KEYS.values() for place in key.places if place.field == name), None)


def as_arrays(key: Key, value: Any) -> Mapping[str, np.ndarray]:
    """A decoded value by array: that of an npz key as it is, the one array of another."""
    return value if isinstance(value, dict) else {key.stem: value}
