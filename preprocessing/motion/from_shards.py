"""Body motion for clips that hold SMPL-X parameters, as those have that were made from video."""

from __future__ import annotations

from typing import Any

import numpy as np

from datamodules.clip import BadSample, ClipInfo, check, decode
from datamodules.shards.cache import ShardFolder
from datamodules.shards.index import SampleEntry, ShardEntry
from datamodules.shards.members import read_members
from models.human.motion import FPS, from_smplx
from preprocessing.motion.clips import LeftOut, MotionClip, Read, encode_clip


def motion_of_clip(smplx: dict[str, np.ndarray], info: ClipInfo) -> np.ndarray:
    """Motion vectors of a clip's SMPL-X parameters (VA-1).

    Args:
        smplx: arrays of `smplx.npz`, T frames at the clip's rate.
        info: the clip.

    Returns:
        (M, 263) float32 at 20 fps, M = round(T / fps * 20): as long as the clip. Vector m is of the moment m / 20.

    Raises:
        LeftOut: less than two frames, or not one vector.
    """
    frames = round(info.frames / info.fps * FPS)
    if info.frames < 2 or frames < 1:
        raise LeftOut("too_short", f"{info.frames} frames at {info.fps:g} fps")
    wanted = ("global_orient", "body_pose", "transl")
    return from_smplx({name: smplx[name] for name in wanted}, info.fps, frames=frames)


def read_sample(job: tuple[ShardEntry, SampleEntry], folder: ShardFolder) -> Read:
    """A clip of a shard with `motion.npz`; as it is where it holds no SMPL-X parameters, and that is a warning.

    Args:
        job: the shard and the clip.
        folder: where the shards are.
    """
    shard, sample = job
    read = Read(sample.id)
    try:
        read.clips.append(_with_motion(read, shard, sample, folder))
    except BadSample as error:
        read.leave_out(sample.id, LeftOut("unreadable", error.reason))
    except LeftOut as error:
        read.leave_out(sample.id, error)
    return read


def _with_motion(read: Read, shard: ShardEntry, sample: SampleEntry, folder: ShardFolder) -> MotionClip:
    with folder.open(shard) as file:
        file.seek(sample.offset)
        members = read_members(file.read(sample.size), sample.id, tuple(sample.keys))
    if "clip.json" not in members:
        raise BadSample("clip.json is missing", sample.id)
    info: ClipInfo = decode("clip.json", members["clip.json"], sample.id)
    if "smplx.npz" not in members:
        read.warnings.append(
            f"no smplx.npz; kept {'with the motion it has' if 'motion.npz' in members else 'as it is'}"
        )
        return MotionClip(info, members)
    smplx: dict[str, Any] = decode("smplx.npz", members["smplx.npz"], sample.id)
    check("smplx.npz", smplx, info, sample.id)
    return encode_clip(info, {"motion.npz": {"motion": motion_of_clip(smplx, info)}}, members)
