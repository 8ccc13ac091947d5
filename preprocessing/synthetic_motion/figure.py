"""From a score to the 22 joints of the skeleton and their rotations."""

from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from models.human.body import JOINTS, OFFSETS, forward_kinematics
from models.human.motion import FPS
from preprocessing.synthetic_motion.arms import elbow_rotation
from preprocessing.synthetic_motion.curves import keyed, unrest
from preprocessing.synthetic_motion.legs import Ground, highest_pelvis, legs, walk
from preprocessing.synthetic_motion.score import Score
from preprocessing.synthetic_motion.talking import Speech, resting_arms

_REST_HEIGHT: Final = -float(sum(OFFSETS[JOINTS.index(f"left_{part}")][1] for part in ("hip", "knee", "ankle", "foot")))
_BOW: Final = {"pelvis": 0.42, "spine1": 0.22, "spine2": 0.2, "spine3": 0.16}
_LEAN: Final = {"spine1": 0.4, "spine2": 0.35, "spine3": 0.25}


def animate(score: Score, frames: int, speech: Speech | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Joints (T, 22, 3) in metres and rotations relative to the parent (T, 22, 3, 3), at 20 fps, feet on the floor.

    Args:
        score: what is done.
        frames: T.
        speech: what is said meanwhile.
    """
    who, generator, times = score.mover, score.generator, np.arange(frames) / FPS
    slow, small = unrest(generator, times, 5.0, 8), unrest(generator, times, 3.0, 6)
    breath = np.sin(2 * np.pi * (times / 3.6 + generator.uniform()))
    ground = walk(score.feet, times, np.radians(who.toes))
    bow, twist = keyed(times, sorted(score.bow)), keyed(times, sorted(score.twist))
    joint_rotations = _trunk(score, times, bow, twist, slow, breath, speech)
    # Where the feet stand still the body sways over them; in a bow the hips go back.
    pelvis_yaw = ground.yaw + np.radians(1.0 * slow[:, 0])
    tilt = np.stack([np.radians(_BOW["pelvis"] * bow), np.radians(0.5 * slow[:, 1])], -1)
    turn = Rotation.from_euler("YXZ", np.concatenate([pelvis_yaw[:, None], tilt], -1))
    ahead = np.stack([np.sin(ground.yaw), np.cos(ground.yaw)], -1)
    back = 0.17 * np.sin(np.radians(bow))[:, None] * ahead
    place = ground.middle + who.sway * slow[:, 2:4] - back
    pelvis = np.stack([place[:, 0], np.zeros(frames), place[:, 1]], -1)
    pelvis[:, 1] = _height(ground, pelvis, turn, _REST_HEIGHT - who.knees + 0.002 * breath)
    joint_rotations |= legs(ground, pelvis, turn)
    joint_rotations["pelvis"] = turn
    joint_rotations |= _arms(score, times, frames, ground, bow, small, speech)
    rotations = np.tile(np.eye(3), (frames, len(JOINTS), 1, 1))
    for name, rotation in joint_rotations.items():
        rotations[:, JOINTS.index(name)] = rotation.as_matrix()
    joints = np.asarray(forward_kinematics(rotations, pelvis))
    joints[..., 1] -= joints[..., 1].min()
    return joints, rotations


def _height(ground: Ground, pelvis: np.ndarray, turn: Rotation, wanted: np.ndarray) -> np.ndarray:
    """The pelvis' height: as wanted, lower where the legs do not reach, and smooth."""
    able = np.minimum(wanted, highest_pelvis(ground, pelvis, turn))
    return np.minimum(able, gaussian_filter1d(able, 1.5, mode="nearest"))


def _trunk(
    score: Score,
    times: np.ndarray,
    bow: np.ndarray,
    twist: np.ndarray,
    slow: np.ndarray,
    breath: np.ndarray,
    speech: Speech | None,
) -> dict[str, Rotation]:
    """Rotations of spine, neck and head."""
    who = score.mover
    nod = np.zeros(len(times)) if speech is None else np.where(speech.stroke > 0, -2.0, -12.0) * speech.stroke
    lean = who.stoop + 0.4 * breath + 1.0 * slow[:, 4]
    rotations = {}
    for name, share in _LEAN.items():
        pitch = share * lean + _BOW[name] * bow
        angles = np.stack([twist / 3, pitch, 0.5 * slow[:, 5]], -1)
        rotations[name] = Rotation.from_euler("YXZ", angles, degrees=True)
    gaze = keyed(times, sorted(score.gaze)) + 4.0 * slow[:, 6]
    head = who.head - 0.6 * who.stoop + 0.12 * bow + nod + 2.0 * slow[:, 7]
    for name, share in (("neck", 0.45), ("head", 0.55)):
        rotations[name] = Rotation.from_euler("YX", share * np.stack([gaze, head], -1), degrees=True)
    return rotations


def _arms(
    score: Score,
    times: np.ndarray,
    frames: int,
    ground: Ground,
    bow: np.ndarray,
    small: np.ndarray,
    speech: Speech | None,
) -> dict[str, Rotation]:
    """Rotations of collars, shoulders and elbows."""
    rotations: dict[str, Rotation] = {}
    stride = _stride(ground)
    for side, path in resting_arms(score.mover, frames, small, speech).items():
        sign = 1.0 if side == "left" else -1.0
        # Arms swing against the legs, and hang towards the floor in a bow.
        forward = np.clip(-sign * 1.1 * stride, -0.35, 0.35) + np.radians(0.45 * bow)
        path.shoulder = Rotation.from_rotvec(np.outer(-forward, [1.0, 0.0, 0.0])) * path.shoulder
        path.strokes = score.arms[side]
        shoulder, elbow = path.at(times)
        upward = shoulder.apply([sign, 0.0, 0.0])[:, 1]
        shrug = Rotation.from_rotvec(np.outer(sign * 0.22 * np.clip(upward + 0.1, 0, 1), [0.0, 0.0, 1.0]))
        rotations[f"{side}_collar"] = shrug
        rotations[f"{side}_shoulder"] = shrug.inv() * shoulder
        rotations[f"{side}_elbow"] = elbow_rotation(side, elbow)
    return rotations


def _stride(ground: Ground) -> np.ndarray:
    """How far the left foot is in front of the right one, (T,) metres."""
    ahead = np.stack([np.sin(ground.yaw), np.cos(ground.yaw)], -1)
    return ((ground.ankles[:, 0, ::2] - ground.ankles[:, 1, ::2]) * ahead).sum(-1)
