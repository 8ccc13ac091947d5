"""Body motion for tests: people of the stated skeleton who sway, bend, swing their arms, turn and walk about."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.human.body import JOINTS, forward_kinematics
from models.human.motion import FPS, put_on_floor, to_motion
from models.human.rotations import axis_angle_to_matrix
from tests.shards import write_shards

# Radians that a joint swings at most, those of its children in addition.
SWING = {"shoulder": 0.9, "elbow": 0.7, "hip": 0.35, "knee": 0.35, "spine": 0.12, "neck": 0.2, "head": 0.2}


def make_motion(rng: np.random.Generator, frames: int) -> np.ndarray:
    """A motion (frames, 263) float32 of smooth random swings, with a turn and a way."""
    time = torch.arange(frames + 1) / FPS

    def wave(size: float) -> torch.Tensor:
        rate, phase, height = rng.uniform(0.2, 0.9), rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1) * size
        return height * torch.sin(2 * np.pi * rate * time + phase)

    turns = torch.zeros(frames + 1, len(JOINTS), 3)
    for joint, name in enumerate(JOINTS):
        size = next((size for part, size in SWING.items() if part in name), 0.0)
        for axis in range(3):
            turns[:, joint, axis] = wave(size)
        if "shoulder" in name:  # arms down
            turns[:, joint, 2] += -1.2 if "left" in name else 1.2
    turns[:, 0, 1] = wave(0.8) + rng.uniform(-0.4, 0.4) * time
    root = torch.stack([wave(0.3), 0.93 + wave(0.02), wave(0.3) + rng.uniform(-0.5, 0.5) * time], dim=-1)
    rotations = axis_angle_to_matrix(turns)
    return to_motion(put_on_floor(forward_kinematics(rotations, root)), rotations).numpy()


def motion_statistics(motions: list[np.ndarray]) -> dict[str, Any]:
    """Mean and deviation as an index holds them, but for each number by itself."""
    frames = np.concatenate(motions).astype(np.float64)
    return {"body_motion": {"mean": frames.mean(0).tolist(), "std": (frames.std(0) + 0.01).tolist()}}


def write_motion_shards(folder: Path, **options: Any) -> Path:
    """Shards of motion clips at 20 fps with their statistics; options are those of `write_shards`."""
    index = write_shards(folder, **{"fps": 20.0, "keys": ("motion.npz",), "speakers": ("ann", "bob"), **options})
    if "body_motion" not in index.statistics:
        rng = np.random.default_rng(0)
        index.statistics.update(motion_statistics([make_motion(rng, 80) for _ in range(8)]))
        index.save(folder)
    return folder
