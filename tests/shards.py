"""Tiny data sets for tests: shards of clips with random smooth poses, sine sound, random features, and video."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.clip import KEYS, ClipInfo, encode
from datamodules.shards.index import Index, SampleEntry, ShardEntry
from datamodules.statistics import StatisticsAccumulator

Members = list[tuple[str, bytes]]


def write_shards(
    folder: str | Path,
    clips: int = 6,
    per_shard: int = 3,
    seconds: float | Sequence[float] = 4.0,
    fps: float = 25.0,
    keys: Iterable[str] = ("pose.npz", "speech.npz", "audio.flac"),
    splits: Sequence[str] = ("train",),
    speakers: Sequence[str] = ("ann", "bob"),
    layers: int = 0,
    video_size: tuple[int, int] = (48, 64),
    info: Callable[[int], dict[str, Any]] | None = None,
    change: Callable[[int, Members], Members] | None = None,
    seed: int = 0,
) -> Index:
    """Write `shard-000000.tar` ... and `index.json` into a folder and return the index.

    Args:
        clips, per_shard: how many clips, and how many in one tar.
        seconds: length of the clips; several lengths are taken in turn.
        keys: beside clip.json; of pose.npz, speech.npz, audio.flac, face.npz, video.mp4, motion.npz.
        splits, speakers: taken in turn.
        layers: channels of two layers of 50 Hz speech features; 0 for none.
        video_size: height and width in pixels; every frame is `numbered_frame`.
        info: further fields of clip.json by clip number.
        change: receives a clip's number and its (key, bytes) members and gives back what shall be written instead, for
            damaged samples. The index always describes the undamaged ones.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lengths = [seconds] if isinstance(seconds, (int, float)) else list(seconds)
    accumulator, shards = StatisticsAccumulator(), []
    for number, first in enumerate(range(0, clips, per_shard)):
        buffer, entries = io.BytesIO(), []
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for clip in range(first, min(first + per_shard, clips)):
                rng = np.random.default_rng([seed, clip])
                values = make_clip(
                    rng,
                    ClipInfo(
                        **{
                            "id": f"clip-{clip:08x}-000",
                            "source": f"clip{clip}.mp4",
                            "end": lengths[clip % len(lengths)],
                            "fps": fps,
                            "frames": round(lengths[clip % len(lengths)] * fps),
                            "split": splits[clip % len(splits)],
                            "speaker": speakers[clip % len(speakers)],
                            **(info(clip) if info else {}),
                        }
                    ),
                    keys,
                    layers,
                    video_size,
                )
                described: ClipInfo = values["clip.json"]
                if described.split == "train":
                    accumulator.add({key: value for key, value in values.items() if key.endswith(".npz")})
                members = [(key, encode(key, values[key])) for key in KEYS if key in values]
                sizes = {key: len(data) for key, data in members}
                offset = tar.offset
                for key, data in change(clip, members) if change else members:
                    member = tarfile.TarInfo(f"{described.id}.{key}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                entries.append(
                    SampleEntry(
                        id=described.id,
                        keys=sizes,
                        frames=described.frames,
                        split=described.split,
                        speaker=described.speaker,
                        offset=offset,
                        size=tar.offset - offset,
                    )
                )
        data = buffer.getvalue()
        name = f"shard-{number:06d}.tar"
        (folder / name).write_bytes(data)
        shards.append(ShardEntry(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), samples=entries))
    index = Index(fps=fps, shards=shards, statistics=accumulator.result())
    index.save(folder)
    return index


def make_clip(
    rng: np.random.Generator,
    info: ClipInfo,
    keys: Iterable[str],
    layers: int = 0,
    video_size: tuple[int, int] = (48, 64),
) -> dict[str, Any]:
    """The decoded keys of one clip; its clip.json is completed by what the other keys need."""
    frames, seconds = info.frames, info.frames / info.fps
    time = np.arange(frames) / info.fps
    values: dict[str, Any] = {}
    keys = set(keys)
    if "pose.npz" in keys:
        rate, phase = rng.uniform(0.1, 1.0, (2, 134, 2))
        sway = np.sin(2 * np.pi * (time[:, None, None] * rate + phase))
        points = rng.uniform(0.3, 0.7, (134, 2)) + 0.05 * sway
        scores = np.ones((frames, 134))
        hidden = rng.choice(134, 5, replace=False)
        points[:, hidden], scores[:, hidden] = -1, 0
        values["pose.npz"] = {"keypoints": points.astype(np.float32), "scores": scores.astype(np.float32)}
    if "speech.npz" in keys:
        values["speech.npz"] = {"handcrafted": rng.standard_normal((frames, 35)).astype(np.float32)}
        if layers:
            features = rng.standard_normal((2, round(seconds * 50), layers)).astype(np.float16)
            values["speech.npz"] |= {"layers": features, "layer_ids": np.array([4, 8], np.int16)}
    if "audio.flac" in keys:
        samples = round(seconds * 16_000)
        info = info.model_copy(update={"sample_rate": 16_000, "samples": samples})
        values["audio.flac"] = (0.3 * np.sin(np.arange(samples) * rng.uniform(0.05, 0.2))).astype(np.float32)
    if "face.npz" in keys:
        boxes = np.tile(np.array([0.4, 0.2, 0.6, 0.5], np.float32), (frames, 1))
        values["face.npz"] = {
            "boxes": boxes,
            "lip_boxes": boxes,
            "scores": np.ones(frames, np.float32),
            "blink": np.full(frames, 0.3, np.float32),
            "head_pose": rng.uniform(-10, 10, (frames, 3)).astype(np.float32),
            "landmarks": rng.uniform(0, 1, (frames, 68, 3)).astype(np.float32),
        }
    if "motion.npz" in keys:
        from tests.motions import make_motion

        values["motion.npz"] = {"motion": make_motion(rng, round(seconds * 20))}
    if "video.mp4" in keys:
        from datamodules.media.files import encode_video

        height, width = video_size
        info = info.model_copy(update={"height": height, "width": width})
        values["video.mp4"] = encode_video(
            (numbered_frame(number, height, width) for number in range(frames)), info.fps
        )
    return {"clip.json": info, **values}


def numbered_frame(number: int, height: int, width: int) -> np.ndarray:
    """A frame (H, W, 3) uint8 with its number (below 256) as eight upright bars, that survive scaling."""
    bars = np.unpackbits(np.uint8(number)).repeat(width // 8)
    return np.broadcast_to((40 + 180 * bars)[None, :, None], (height, width, 3)).astype(np.uint8)


def number_of(frame: np.ndarray) -> int:
    """The number that `numbered_frame` drew into a frame (H, W, 3)."""
    bars = frame.reshape(frame.shape[0], 8, -1).mean((0, 2))
    return int(np.packbits(bars > 128)[0])
