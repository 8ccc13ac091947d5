"""Clips from a HumanML3D folder: motion vectors that are there already, and their captions.

| file | content |
|---|---|
| `new_joint_vecs/NAME.npy` | (M, 263) at 20 fps |
| `texts/NAME.txt` | a caption a line: `text#tokens#start#end`; 0 and 0 for the whole motion |
| `train.txt`, `val.txt`, `test.txt` | names; mirrored motions are names with an M in front and texts of their own |
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from datamodules.clip import Caption, ClipInfo
from models.human.inverse_kinematics import rotations_of
from models.human.motion import FPS, PARTS, recover_joints
from models.human.rotations import matrix_to_6d
from preprocessing.motion.clips import LeftOut, Read, checked_motion, encode_clip, pieces, unreadable
from preprocessing.motion.options import Options
from preprocessing.sources.manifest import cut_spans, slug
from preprocessing.step import SourceFile
from settings.hashes import file_hash

MOTIONS: Final = "new_joint_vecs"
TEXTS: Final = "texts"


def read_humanml3d(job: tuple[SourceFile, str], options: Options) -> Read:
    """The clips of one motion; one, unless it is longer than a clip may be.

    Args:
        job: the motion's file, and its split.
        options: of the import.
    """
    source, split = job
    read = Read(source.name)
    try:
        motion = _motion(source.path)
        spans = _captions(source.path.parent.parent / TEXTS / f"{source.path.stem}.txt", len(motion) / FPS)
        if options.rotations == "found":
            motion = with_found_rotations(motion)
        sha256 = file_hash(source.path)
        for number, (start, stop) in enumerate(pieces(len(motion), options.min_clip_seconds, options.max_clip_seconds)):
            begin, end = start / FPS, stop / FPS
            info = ClipInfo(
                id=f"{slug(source)}-{number:03d}",
                source=source.name,
                sha256=sha256,
                start=begin,
                end=end,
                fps=float(FPS),
                frames=stop - start,
                language=options.language,
                captions=[Caption(**span) for span in cut_spans(spans, begin, end)],
                licence=options.licence,
                split=split,
                extra={"captions": "description", "mirrored": source.path.stem.startswith("M")},
            )
            read.clips.append(encode_clip(info, {"motion.npz": {"motion": motion[start:stop]}}))
    except LeftOut as error:
        read.leave_out(source.name, error)
    return read


def with_found_rotations(motion: np.ndarray) -> np.ndarray:
    """(M, 263) with the rotations of our definition, found from its joints, in place of HumanML3D's own."""
    rotations = rotations_of(recover_joints(motion.astype(np.float64)))
    motion = motion.copy()
    motion[:, PARTS["rotations"]] = matrix_to_6d(rotations)[:, 1:].reshape(len(motion), -1)
    return motion


def _motion(path: Path) -> np.ndarray:
    try:
        motion = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise LeftOut("missing_file", f"{MOTIONS}/{path.name}") from None
    except Exception as error:  # numpy raises kinds of many sorts for damaged files
        raise unreadable(error) from None
    return checked_motion(path.name, np.asarray(motion))


def _captions(path: Path, seconds: float) -> list[dict[str, Any]]:
    """Captions with their spans in seconds of the motion. Raises LeftOut where there is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise LeftOut("missing_file", f"{TEXTS}/{path.name}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LeftOut("unreadable", f"{TEXTS}/{path.name}: {type(error).__name__}") from None
    spans = []
    for line in lines:
        text, *rest = line.split("#")
        start, end = (_seconds(rest[i]) if len(rest) == 3 else 0.0 for i in (1, 2))
        if end <= start:
            start, end = 0.0, seconds
        end = min(end, seconds)
        if text.strip() and start < end:
            spans.append({"start": start, "end": end, "text": text.strip()})
    if not spans:
        raise LeftOut("no_text", f"{TEXTS}/{path.name}")
    return spans


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0
