"""The quality figures of a clip: what `preprocessing.quality` judges, and what stands in `clip.json` and the report."""

from typing import Final, Literal

import numpy as np

from models.human.keypoints import (
    FACE,
    LEFT_HAND,
    LEFT_SHOULDER,
    NECK,
    NOSE,
    POINTS,
    RIGHT_HAND,
    RIGHT_SHOULDER,
    lip_opening,
)
from preprocessing.speech.activity import (
    clipped_share,
    lip_audio_correlation,
    loudness,
    signal_to_noise,
    speech_share,
)
from preprocessing.speech.silero import silero_share
from preprocessing.step import Draft

SpeechShare = Literal["silero", "energy"]
Part = Literal["head", "upper_body", "waist_up", "half_body", "full_body"]
_HEAD: Final = (NOSE, 14, 15)
_SHOULDERS: Final = (RIGHT_SHOULDER, LEFT_SHOULDER)
REQUIRED: Final[dict[str, tuple[int, ...]]] = {
    "head": _HEAD,
    "upper_body": (*_HEAD, *_SHOULDERS),
    "waist_up": (*_HEAD, *_SHOULDERS, 3, 6),
    "half_body": (*_HEAD, *_SHOULDERS, 3, 6, 8, 11),
    "full_body": (*_HEAD, *_SHOULDERS, 3, 6, 8, 11, 9, 12, 10, 13),
}
"""Body points that each `require` wants to see: nose and eyes, then shoulders, elbows, hips, knees and ankles."""
SEEN: Final = 0.3
"""Score from which on a point counts as seen; the threshold with which poses are drawn."""
_KNEES: Final = (9, 12)
_STILL: Final = (NOSE, NECK, *_SHOULDERS)  # no gesture moves them fast
_MEDIAN_STEP: Final = 1.1774 * 6**0.5  # median length of the second difference of points with noise of deviation 1


def measure(
    draft: Draft,
    require: Part = "head",
    jump: float = 0.5,
    share: SpeechShare = "silero",
    max_yaw: float = 30.0,
    min_shoulders: float = 1.2,
) -> dict[str, float]:
    """The quality figures of a clip that has its pose.

    Args:
        draft: with `pose.npz`; `face.npz`, sound and `extras["people"]` where there are any.
        require: as in `Quality`.
        jump: as in `Quality`.
        share: `speech_share` of `Quality`.
        max_yaw: as in `Quality`.
        min_shoulders: as in `Quality`.

    Returns:
        pose_confidence (mean score of nose, neck and face), face (share of frames with one), face_size (its height
        over the picture's, median), face_whole (share of the frames with a face in which all of it is in the picture),
        body (share of frames with all required points in the picture), legs (share with a knee in the picture), hands,
        left_hand, right_hand (shares), frontal (share of the frames with a face in which the person faces the camera),
        jumps and body_jumps (shares of frames, of the head and of the required points), jitter (deviation of the noise
        of head and shoulders, in face heights), lip_movement; with a face step: yaw (of the head, median of its size in
        degrees); where both are seen: shoulders (how far apart, in face heights, median; below 0 from behind); with
        counted people: people (most at one time) and more_people (share of frames); with sound: loudness, snr (dB),
        clipping, speech (shares) and lip_audio_correlation.
    """
    pose = draft.arrays["pose.npz"]
    points, scores = pose["keypoints"], pose["scores"]
    seen = scores >= SEEN
    inside: np.ndarray = np.all((points >= 0) & (points <= 1), axis=-1)
    face, boxes = _faces(draft, points, scores)
    heights = boxes[:, 3] - boxes[:, 1]
    required = list(REQUIRED[require])
    left, right = (scores[:, hand].mean(1) >= SEEN for hand in (LEFT_HAND, RIGHT_HAND))
    opening = lip_opening(points)
    figures = {
        "pose_confidence": float(scores[:, [NOSE, NECK, *range(POINTS)[FACE]]].mean()),
        "face": float(face.mean()),
        "face_size": float(np.median(heights[face])) if face.any() else 0.0,
        "face_whole": _share(_whole(boxes, scores, inside), face),
        "body": float((seen & inside)[:, required].all(1).mean()),
        "legs": float((seen & inside)[:, list(_KNEES)].any(1).mean()),
        "hands": float((left | right).mean()),
        "left_hand": float(left.mean()),
        "right_hand": float(right.mean()),
        "jumps": _jumps(points[:, [NOSE]], (seen[:, NOSE] & face)[:, None], heights, jump, draft),
        "body_jumps": _jumps(points[:, required], seen[:, required], _filled(heights, face), jump, draft),
        "jitter": _jitter(points[:, list(_STILL)], seen[:, list(_STILL)], heights, face, draft),
        "lip_movement": _movement(opening[face], draft.fps),
    }
    figures |= _facing(draft, points, seen, face, heights, max_yaw, min_shoulders)
    if "people" in draft.extras and len(draft.extras["people"]):
        people = np.asarray(draft.extras["people"])
        figures |= {"people": float(people.max()), "more_people": float((people > 1).mean())}
    if draft.audio is not None:
        figures |= {
            "loudness": loudness(draft.audio),
            "snr": signal_to_noise(draft.audio),
            "clipping": clipped_share(draft.audio),
            "speech": silero_share(draft.audio) if share == "silero" else speech_share(draft.audio),
            "lip_audio_correlation": lip_audio_correlation(np.where(face, opening, 0), draft.audio, draft.fps),
        }
    return figures


def _share(good: np.ndarray, among: np.ndarray) -> float:
    """Share of the frames (T,) `among` which are `good`; 0 where there are none."""
    return float(good[among].mean()) if among.any() else 0.0


def _faces(draft: Draft, points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T,) whether there is a face and (T, 4) its box: by the face step, or by the pose's face points."""
    if "face.npz" in draft.arrays:
        found = draft.arrays["face.npz"]
        return np.asarray(found["scores"] >= SEEN), found["boxes"]
    face = points[:, FACE]
    return np.asarray(scores[:, FACE].mean(1) >= SEEN), np.concatenate([face.min(1), face.max(1)], -1)


def _whole(boxes: np.ndarray, scores: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(T,) whether the face's box and every point of it are in the picture; points need not be sure, but found."""
    framed = (boxes[:, :2] >= 0).all(1) & (boxes[:, 2:] <= 1).all(1)
    return framed & ((scores[:, FACE] > 0) & inside[:, FACE]).all(1)


def _aspect(draft: Draft) -> float:
    """Width of the picture over its height, which makes fractions of both comparable."""
    return (draft.info.width or 1) / (draft.info.height or 1)


def _facing(
    draft: Draft,
    points: np.ndarray,
    seen: np.ndarray,
    face: np.ndarray,
    heights: np.ndarray,
    max_yaw: float,
    min_shoulders: float,
) -> dict[str, float]:
    """Whether the person faces the camera: the head by its yaw, the body by how far apart the shoulders are."""
    figures: dict[str, float] = {}
    facing = np.ones(len(points), bool)
    if "head_pose" in draft.arrays.get("face.npz", {}):
        yaw = np.abs(draft.arrays["face.npz"]["head_pose"][:, 0])
        facing &= yaw <= max_yaw
        if face.any():
            figures["yaw"] = float(np.median(yaw[face]))
    both = seen[:, list(_SHOULDERS)].all(1) & face
    # The person's left is on the right of the picture, unless they are seen from behind.
    apart = (points[:, LEFT_SHOULDER, 0] - points[:, RIGHT_SHOULDER, 0]) * _aspect(draft) / np.maximum(heights, 1e-6)
    facing &= ~both | (apart >= min_shoulders)
    if both.any():
        figures["shoulders"] = float(np.median(apart[both]))
    return figures | {"frontal": _share(facing, face)}


def _filled(heights: np.ndarray, face: np.ndarray) -> np.ndarray:
    """(T,) height of the face, its median where there is none; without a face at all nothing is far."""
    return np.where(face, heights, np.median(heights[face])) if face.any() else np.full(len(heights), np.inf)


def _jumps(points: np.ndarray, seen: np.ndarray, heights: np.ndarray, jump: float, draft: Draft) -> float:
    """Share of the steps from frame to frame in which a point jumps, or is found in one frame and not in the other.

    Args:
        points: (T, N, 2) fractions of the frame.
        seen: (T, N).
        heights: (T,) of the face, over the picture's.
        jump: what is far, in face heights.
        draft: the clip.
    """
    if len(points) < 2:
        return 0.0
    moved = np.linalg.norm(np.diff(points, axis=0) * (_aspect(draft), 1), axis=-1)
    height = np.maximum(np.minimum(heights[1:], heights[:-1]), 1e-6)[:, None]
    # At lower frame rates the same movement is a longer step.
    far = moved / height > jump * max(1.0, 25 / draft.fps)
    return float(((far & seen[1:] & seen[:-1]) | (seen[1:] != seen[:-1])).any(1).mean())


def _jitter(points: np.ndarray, seen: np.ndarray, heights: np.ndarray, face: np.ndarray, draft: Draft) -> float:
    """Noise of points (T, N, 2) that move smoothly by themselves, in face heights: from their second differences."""
    known = (seen & face[:, None])[2:] & seen[1:-1] & seen[:-2]
    if not known.any():
        return 0.0
    bent = np.linalg.norm(np.diff(points, n=2, axis=0) * (_aspect(draft), 1), axis=-1)
    return float(np.median((bent / np.maximum(heights, 1e-6)[2:, None])[known]) / _MEDIAN_STEP)


def _movement(opening: np.ndarray, fps: float) -> float:
    """Standard deviation of lip opening within a second, so that slow turning of the head does not count."""
    if len(opening) < 3:
        return 0.0
    from scipy.ndimage import uniform_filter1d

    opening = opening.astype(np.float64)
    return float((opening - uniform_filter1d(opening, max(3, round(fps)))).std())
