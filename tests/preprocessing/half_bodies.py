"""A person from the waist up who speaks, as key points that no limit of the half-body preset minds."""

from pathlib import Path

import numpy as np

from datamodules.clip import ClipInfo
from models.human.canonical_face import CANONICAL, RIGID
from models.human.keypoints import FACE, INNER_LIP_BOTTOM, LEFT_HAND, POINTS, RIGHT_HAND
from preprocessing.face.geometry import face_arrays
from preprocessing.step import Draft, SourceFile

RATE, FPS, FRAMES = 16_000, 25, 125
SIZE = (64, 112)
"""Width and height of the picture in pixels, 4 : 7 as 512 x 896 are."""


def sound(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """5 s of tones with the ups, downs and colours of speech, (80000,), and their loudness at every frame, (125,)."""
    random = np.random.default_rng(seed)
    time, steps = np.arange(5 * RATE) / RATE, np.arange(25)
    loud = np.interp(time * 5, steps, random.choice([0.0, 0.003, 0.3, 1.0], len(steps)))
    pitch = np.interp(time * 5, steps, random.uniform(300, 2500, len(steps)))
    audio = 0.3 * loud * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) + 1e-4 * random.standard_normal(len(time))
    return audio.astype(np.float32), loud[np.arange(FRAMES) * RATE // FPS]


def head(yaw: float, size: tuple[int, int], opening: np.ndarray) -> np.ndarray:
    """Faces (T, 68, 2) in pixels, upper middle of the picture, turned to the person's left, mouths open by cm (T,)."""
    face = np.zeros((68, 3))
    jaw = np.linspace(-np.pi, 0, 17)
    face[:17] = np.stack([7 * np.cos(jaw), 2 + 9 * np.sin(jaw), np.full(17, 1.0)], -1)
    face[17:27] = np.stack([np.linspace(-5.5, 5.5, 10), np.full(10, 5.0), np.full(10, 4.0)], -1)
    face[36:48, 2] = 3.5
    face[36:42, :2], face[42:48, :2] = (-3.1, 2.6), (3.1, 2.6)
    face[48:68] = (0, -4, 5)
    face[list(RIGID)] = CANONICAL
    faces = np.repeat(face[None], len(opening), 0)
    faces[:, INNER_LIP_BOTTOM - FACE.start, 1] -= opening
    turn = np.radians(yaw)
    faces = faces @ np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]).T
    width, height = size
    focal, depth = max(size), 80 - faces[..., 2]
    return np.stack([focal * faces[..., 0] / depth + width / 2, height / 2 - focal * (faces[..., 1] + 14) / depth], -1)


def pose(yaw: float = 0.0, loud: np.ndarray | None = None, size: tuple[int, int] = SIZE) -> dict[str, np.ndarray]:
    """`pose.npz` of somebody seen from the waist up, 125 frames: hips at the lower edge, legs out of the picture."""
    loud = sound()[1] if loud is None else loud
    points, scores = np.full((FRAMES, POINTS, 2), -1.0), np.zeros((FRAMES, POINTS))
    face = points[:, FACE] = head(yaw, size, 1.5 * loud) / size
    middle, tall = face.mean((0, 1)), float(np.median(np.ptp(face[..., 1], axis=1)))
    wide = tall * size[1] / size[0]  # the height of a face as a share of the picture's width
    body = {
        0: (0, 0), 1: (0, 0.9), 2: (-1, 1), 5: (1, 1), 3: (-1.1, 2.2), 6: (1.1, 2.2), 4: (-0.6, 2.6), 7: (0.6, 2.6),
        8: (-0.5, 3), 11: (0.5, 3), 14: (-0.2, -0.2), 15: (0.2, -0.2), 16: (-0.5, 0), 17: (0.5, 0),
    }  # fmt: skip
    for point, (x, y) in body.items():
        points[:, point] = middle + (x * wide, y * tall)
    for hand, wrist in ((LEFT_HAND, 7), (RIGHT_HAND, 4)):
        points[:, hand] = points[:, [wrist]] + np.linspace((0, 0), (0.2 * wide, 0.2 * tall), 21)
    scores[points[..., 0] > -1] = 0.9
    return {"keypoints": points.astype(np.float32), "scores": scores.astype(np.float32)}


def clip(yaw: float = 0.0) -> Draft:
    """The clip of that person, face and sound with it, whose pictures nobody looks at."""
    audio, loud = sound()
    width, height = SIZE
    info = ClipInfo(id="a", source="a.mp4", end=5.0, fps=FPS, frames=FRAMES, width=width, height=height)
    draft = Draft(info=info, video=b"", fps=FPS, audio=audio, source=SourceFile(Path("a.mp4"), "a.mp4", Path(".")))
    draft.arrays["pose.npz"] = found = pose(yaw, loud)
    face = found["keypoints"][:, FACE]
    landmarks = np.concatenate([face, np.zeros_like(face[..., :1])], -1)
    draft.arrays["face.npz"] = face_arrays(face, np.ones(FRAMES, np.float32), face, landmarks, width, height)
    draft.extras["people"] = np.ones(11, int)
    return draft
