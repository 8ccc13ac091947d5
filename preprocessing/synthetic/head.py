"""The head as points in space: a template in head units, moved by mouth, lids, brows and the neck.

Unit: a little more than half the distance between the ears; x to the viewer's right, y down, z towards the viewer,
origin between the eyes.
"""

import numpy as np

from preprocessing.synthetic.motion import Motion
from preprocessing.synthetic.speakers import Look

UNIT = 0.146
CENTRE = (0.5, 0.246)
OPENING = 0.30
"""Distance of the inner lips at an opening of 1, in head units."""
IRIS = 0.08
_PIVOT = np.array([0.0, 0.85, -0.35])
_EYE_X, _MOUTH_Y = 0.335, 0.68
_HALF_JAW = np.array(
    [(0.76, 0.02), (0.752, 0.2), (0.732, 0.4), (0.69, 0.58), (0.61, 0.75), (0.5, 0.9), (0.355, 1.03), (0.18, 1.105),
     (0, 1.125)]
)  # fmt: skip
_SKULL = np.array([(0.76, -0.2), (0.72, -0.5), (0.58, -0.78), (0.32, -0.95), (0, -1.0)])
# From the outer to the inner corner over the upper lid, back along the lower one, for the viewer's left eye.
_EYE = np.array([(-0.16, 0.012), (-0.065, -0.078), (0.055, -0.082), (0.15, 0.028), (0.06, 0.062), (-0.06, 0.064)])
_BROW = np.array([(-0.56, -0.225), (-0.46, -0.285), (-0.34, -0.31), (-0.22, -0.3), (-0.13, -0.275)])
_NOSE = np.array(
    [(0, -0.03, 0.04), (0, 0.11, 0.12), (0, 0.24, 0.22), (0, 0.365, 0.31),
     (-0.145, 0.435, 0.1), (-0.075, 0.472, 0.17), (0, 0.488, 0.2), (0.075, 0.472, 0.17), (0.145, 0.435, 0.1)]
)  # fmt: skip
_OUTER_X = np.array([-1, -0.6, -0.22, 0, 0.22, 0.6, 1, 0.6, 0.25, 0, -0.25, -0.6])
_OUTER_Y = np.array([0, -0.062, -0.09, -0.072, -0.09, -0.062, 0, 0.066, 0.102, 0.108, 0.102, 0.066])
_INNER_X = np.array([-0.86, -0.4, 0, 0.4, 0.86, 0.4, 0, -0.4])


def skull(points: np.ndarray, look: Look, lift: float = 0.0) -> np.ndarray:
    """(n, 2) on the face to (n, 3): the depth of an egg-shaped head, `lift` further out."""
    x, y = points[..., 0], points[..., 1]
    depth = 0.8 * np.sqrt(np.clip(1 - (x / 0.84) ** 2 - ((y - 0.05) / 1.3) ** 2, 0, None)) + lift
    return np.stack([x, y, depth], -1)


def face(motion: Motion, look: Look) -> dict[str, np.ndarray]:
    """The moving face before the head is turned: outlines by name, (T, n, 3) in head units.

    `jaw` 17, `brows` 10, `nose` 9, `eyes` 12, `outer_lips` 12, `inner_lips` 8 are iBUG-68's points in order;
    `skin`, `ears`, `irises` are for drawing.
    """
    frames = motion.frames
    opening = OPENING * motion.opening[:, None]

    jaw = np.concatenate([_HALF_JAW * [-1, 1], _HALF_JAW[-2::-1]])
    jaw = jaw * np.stack([1 + (look.jaw - 1) * np.clip(jaw[:, 1] / 0.7, 0, 1), np.ones(17)], -1)
    jaw = with_jaw(skull(jaw, look), motion)

    top = np.concatenate([_SKULL, _SKULL[-2::-1] * [-1, 1]])
    top = np.repeat(skull(top, look, -0.05)[None], frames, 0)

    eye = _EYE * look.eyes
    eyes = np.concatenate([eye + [-_EYE_X, 0], (eye * [-1, 1] + [_EYE_X, 0])[[3, 2, 1, 0, 5, 4]]])
    eyes = np.repeat(skull(eyes, look, -0.04)[None], frames, 0)
    shut = motion.blink[:, None]
    for upper, lower in ((1, 5), (2, 4), (7, 11), (8, 10)):
        eyes[:, upper, 1] += shut[:, 0] * (0.8 * (eyes[:, lower, 1] - eyes[:, upper, 1]))
        eyes[:, lower, 1] -= shut[:, 0] * 0.02

    brow = np.concatenate([_BROW, _BROW[::-1] * [-1, 1]])
    brows = np.repeat(skull(brow, look, 0.03)[None], frames, 0)
    brows[..., 1] -= 0.10 * motion.brows[:, None]

    nose = _NOSE * [look.nose, 1, 1] + [0, 0, 0.8]
    nose = np.repeat(nose[None], frames, 0)

    outer, inner = _lips(motion, look, opening)
    centres = np.array([[-_EYE_X, 0.0], [_EYE_X, 0.0]])
    irises = np.repeat(skull(centres, look, -0.02)[None], frames, 0)
    irises[..., :2] += 0.05 * motion.gaze[:, None]
    ear = np.stack(
        [0.075 * np.cos(np.linspace(0, 2 * np.pi, 9)[:-1]), 0.2 * np.sin(np.linspace(0, 2 * np.pi, 9)[:-1])], -1
    )
    ears = np.concatenate([ear + [-0.79, 0.14], ear + [0.79, 0.14]])
    ears = np.repeat(np.concatenate([ears, np.full((16, 1), -0.15)], -1)[None], frames, 0)
    return {
        "jaw": jaw, "brows": brows, "nose": nose, "eyes": eyes, "outer_lips": outer, "inner_lips": inner,
        "skin": np.concatenate([jaw, top], 1), "ears": ears, "irises": irises,
    }  # fmt: skip


def with_jaw(points: np.ndarray, motion: Motion) -> np.ndarray:
    """Points (n, 3) of the lower face to (T, n, 3): they go down as the mouth opens, the chin most."""
    falls = np.clip((points[:, 1] - 0.35) / 0.7, 0, 1) ** 1.3
    moved = np.repeat(points[None], motion.frames, 0)
    moved[..., 1] += falls * (0.62 * OPENING * motion.opening[:, None])
    return moved


def _lips(motion: Motion, look: Look, opening: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, 12, 3) and (T, 8, 3) in head units; the inner lips' middle points are exactly `opening` apart."""
    width = motion.width[:, None]
    half = 0.295 * (1 + np.where(width > 0, 0.16, 0.34) * width) * (1 - 0.06 * motion.opening[:, None])
    full = look.lips * (1 + 0.22 * np.clip(-width, 0, 1))
    round_ = (1 - np.abs(_OUTER_X) ** 2.4) ** 0.7
    shift = np.where(_OUTER_Y < 0, -0.22, 0.78) * round_
    outer_y = _MOUTH_Y + full * _OUTER_Y + shift * opening + 0.12 * opening
    outer_x = half * _OUTER_X
    smile = 0.024 * np.abs(_OUTER_X) ** 2.5
    outer_y = outer_y - smile
    profile = np.where(np.abs(_INNER_X) < 0.1, 1.0, np.where(np.abs(_INNER_X) < 0.5, 0.86, 0.0))
    down = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    middle = _MOUTH_Y + 0.012 * np.cos(np.pi * _INNER_X)
    inner_y = middle + np.where(down == 1, 0.78, -0.22) * profile * opening + 0.12 * opening
    inner_x = half * _INNER_X
    inner_y = inner_y - 0.024 * np.abs(_INNER_X) ** 2.5
    outer = skull(np.stack([outer_x, outer_y], -1), look, 0.04)
    inner = skull(np.stack([inner_x, inner_y], -1), look, 0.03)
    return outer, inner


def place(points: np.ndarray, motion: Motion, look: Look) -> np.ndarray:
    """Turn head points with the head and put them into the picture: (T, n, 3) or (n, 3) to (T, n, 2) in fractions."""
    yaw, pitch, roll = (np.deg2rad(motion.head[:, i])[:, None] for i in range(3))
    points = points - _PIVOT
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    y, z = y * np.cos(pitch) + z * np.sin(pitch), z * np.cos(pitch) - y * np.sin(pitch)
    x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)
    near = UNIT * look.head * (1 + 0.05 * z)
    shift = motion.trunk[:, None] * 1.15 + np.stack([np.zeros(motion.frames), 0.6 * motion.breath], -1)[:, None]
    anchor = np.array(CENTRE) + UNIT * _PIVOT[:2]
    return np.stack([x * near, y * near], -1) + anchor + shift
