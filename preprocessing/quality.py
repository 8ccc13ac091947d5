"""The quality filter: figures for every clip, and named reasons for those that are not kept."""

from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field

from models.human.keypoints import FACE, LEFT_HAND, NECK, NOSE, POINTS, RIGHT_HAND, lip_opening
from preprocessing.speech.activity import clipped_share, lip_audio_correlation, loudness, speech_share
from preprocessing.speech.silero import session, silero_share
from preprocessing.step import Draft, Drop
from settings import ConfigError
from settings.ranges import Fraction, NonNegative, Number

_Correlation = Annotated[float, Field(ge=-1, le=1)]
SpeechShare = Literal["silero", "energy"]
Part = Literal["head", "upper_body", "half_body", "full_body"]
_HEAD: Final = (NOSE, 14, 15)
_SHOULDERS: Final = (2, 5)
REQUIRED: Final[dict[str, tuple[int, ...]]] = {
    "head": _HEAD,
    "upper_body": (*_HEAD, *_SHOULDERS),
    "half_body": (*_HEAD, *_SHOULDERS, 3, 6, 8, 11),
    "full_body": (*_HEAD, *_SHOULDERS, 3, 6, 8, 11, 9, 12, 10, 13),
}
"""Body points that each `require` wants to see: nose and eyes, then shoulders, elbows and hips, knees and ankles."""
_SEEN: Final = 0.3  # score from which on a point counts as seen; the threshold with which poses are drawn


class Quality:
    """Measures every clip, and drops those that are not one person speaking.

    All figures are taken before anything is decided, so that dropped clips have them too (`figures`). Reasons are
    tried in this order, and the first that fits is given: faults of the sound, people, face, body, hands, jumps,
    speech. The defaults keep clips with a head alone: hands are measured, and demanded only with `min_hands`.

    Sound is speech when Silero's network hears enough of it in it, or when the lips go with it, and in both cases the
    mouth has to move: that is what tells a silent face under music or under another's voice. It cannot tell a mouth
    that chews from one that speaks, nor a dubbed voice from the speaker's own.

    Args:
        require: what has to be in the picture: head, upper_body (shoulders), half_body (elbows, hips) or full_body.
        max_more_people: largest share of the frames in which more than one person is seen.
        min_face: smallest share of the frames with a face.
        min_face_size: smallest height of the face, as a share of the picture's height (median of the frames).
        min_body: smallest share of the frames in which all required points are seen inside the picture.
        min_hands: smallest share of the frames with at least one hand; 0 demands none.
        max_jumps: largest share of the frames in which the head jumps by `jump` or found points come or go.
        jump: movement from one frame to the next that counts as a jump, in face heights.
        require_audio: drop clips without sound, and judge the sound of the others.
        min_loudness: quietest sound that is none of silence, in dB of full scale.
        max_clipping: largest share of the samples that stand at full scale.
        require_speech: drop clips in which nobody speaks.
        min_lip_movement: smallest movement of the lips (standard deviation of their opening, in face heights) that is
            speaking.
        min_speech: smallest share of the sound that is speech.
        min_lip_audio_correlation: where there is less clear speech, lips and sound that go together as well as this
            will do.
        speech_share: what hears speech: Silero's network, which also does in noise and over music, or the ups and downs
            of the sound's energy, which know clear speech only and need no network.
    """

    def __init__(
        self,
        require: Part = "head",
        max_more_people: Fraction = 0.1,
        min_face: Fraction = 0.8,
        min_face_size: Fraction = 0.04,
        min_body: Fraction = 0.8,
        min_hands: Fraction = 0.0,
        max_jumps: Fraction = 0.05,
        jump: NonNegative = 0.5,
        require_audio: bool = True,
        min_loudness: Number = -50.0,
        max_clipping: Fraction = 0.005,
        require_speech: bool = True,
        min_lip_movement: NonNegative = 0.01,
        min_speech: Fraction = 0.25,
        min_lip_audio_correlation: _Correlation = 0.25,
        speech_share: SpeechShare = "silero",
    ) -> None:
        if require not in REQUIRED:
            raise ConfigError(f"quality require '{require}': one of {', '.join(REQUIRED)}")
        if speech_share == "silero":
            session()  # said now where it is not there, not at the first clip
        self.speech_share: SpeechShare = speech_share
        shares = {
            "max_more_people": max_more_people,
            "min_face": min_face,
            "min_body": min_body,
            "min_hands": min_hands,
            "max_jumps": max_jumps,
            "max_clipping": max_clipping,
            "min_speech": min_speech,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"quality {name} is a share and lies in 0 to 1, got {value}")
        self.require, self.jump = require, jump
        self.max_more_people, self.max_jumps = max_more_people, max_jumps
        self.min_face, self.min_face_size = min_face, min_face_size
        self.min_body, self.min_hands = min_body, min_hands
        self.require_audio, self.require_speech = require_audio, require_speech
        self.min_loudness, self.max_clipping = min_loudness, max_clipping
        self.min_lip_movement, self.min_speech = min_lip_movement, min_speech
        self.min_lip_audio_correlation = min_lip_audio_correlation

    def __call__(self, draft: Draft) -> None:
        """Record the clip's figures.

        Raises:
            Drop: the clip is not to be kept.
        """
        figures = measure(draft, self.require, self.jump, self.speech_share)
        draft.figures.update(figures)
        self._judge_sound(draft, figures)
        self._judge_picture(figures)
        if self.require_speech and draft.audio is not None:
            self._judge_speech(figures)

    def _judge_sound(self, draft: Draft, figures: dict[str, float]) -> None:
        if not self.require_audio:
            return
        if draft.audio is None:
            raise Drop("no_audio", "the file has no sound track")
        if figures["loudness"] < self.min_loudness:
            raise Drop("silence", f"loudness {figures['loudness']:.1f} dB, at least {self.min_loudness:g}")
        if figures["clipping"] > self.max_clipping:
            raise Drop(
                "clipping", f"{figures['clipping']:.2%} of the samples at full scale, at most {self.max_clipping:.2%}"
            )

    def _judge_picture(self, figures: dict[str, float]) -> None:
        if figures.get("more_people", 0) > self.max_more_people:
            raise Drop(
                "more_than_one_person",
                f"more than one in {figures['more_people']:.0%} of the frames, at most {self.max_more_people:.0%}",
            )
        if figures["face"] < self.min_face:
            raise Drop("no_face", f"a face in {figures['face']:.0%} of the frames, at least {self.min_face:.0%}")
        if figures["face_size"] < self.min_face_size:
            raise Drop(
                "no_face", f"face {figures['face_size']:.1%} of the picture high, at least {self.min_face_size:.1%}"
            )
        if figures["body"] < self.min_body:
            raise Drop(
                "partial_body",
                f"{self.require} in the picture in {figures['body']:.0%} of the frames, at least {self.min_body:.0%}",
            )
        if figures["hands"] < self.min_hands:
            raise Drop("hands_unseen", f"a hand in {figures['hands']:.0%} of the frames, at least {self.min_hands:.0%}")
        if figures["jumps"] > self.max_jumps:
            raise Drop(
                "unstable_detection",
                f"points jump in {figures['jumps']:.1%} of the frames, at most {self.max_jumps:.1%}",
            )

    def _judge_speech(self, figures: dict[str, float]) -> None:
        if figures["lip_movement"] < self.min_lip_movement:
            raise Drop(
                "no_speech",
                f"the lips move by {figures['lip_movement']:.4f} face heights, at least {self.min_lip_movement:g}",
            )
        if figures["speech"] < self.min_speech and figures["lip_audio_correlation"] < self.min_lip_audio_correlation:
            raise Drop(
                "no_speech",
                f"{figures['speech']:.0%} of the sound is speech, at least {self.min_speech:.0%}, "
                f"and the lips go with it by {figures['lip_audio_correlation']:.2f}, "
                f"at least {self.min_lip_audio_correlation:g}",
            )


def measure(draft: Draft, require: Part = "head", jump: float = 0.5, share: SpeechShare = "silero") -> dict[str, float]:
    """The quality figures of a clip that has its pose.

    Args:
        draft: with `pose.npz`; `face.npz`, sound and `extras["people"]` where there are any.
        require: as in `Quality`.
        jump: as in `Quality`.
        share: `speech_share` of `Quality`.

    Returns:
        pose_confidence (mean score of nose, neck and face), face (share of frames with one), face_size (its height
        over the picture's, median), body (share of frames with all required points in the picture), hands, left_hand,
        right_hand (shares), jumps (share of frames), lip_movement; with counted people: people (most at one time) and
        more_people (share of frames); with sound: loudness (dB), clipping, speech (shares) and lip_audio_correlation.
    """
    pose = draft.arrays["pose.npz"]
    points, scores = pose["keypoints"], pose["scores"]
    face = _face_seen(draft, scores)
    heights = _face_heights(draft, points)
    required = list(REQUIRED[require])
    inside: np.ndarray = np.all((points >= 0) & (points <= 1), axis=-1)
    left, right = (scores[:, hand].mean(1) >= _SEEN for hand in (LEFT_HAND, RIGHT_HAND))
    opening = lip_opening(points)
    figures = {
        "pose_confidence": float(scores[:, [NOSE, NECK, *range(POINTS)[FACE]]].mean()),
        "face": float(face.mean()),
        "face_size": float(np.median(heights[face])) if face.any() else 0.0,
        "body": float(((scores[:, required] >= _SEEN) & inside[:, required]).all(1).mean()),
        "hands": float((left | right).mean()),
        "left_hand": float(left.mean()),
        "right_hand": float(right.mean()),
        "jumps": _jumps(points, scores, face, heights, jump, draft),
        "lip_movement": _movement(opening[face], draft.fps),
    }
    if "people" in draft.extras and len(draft.extras["people"]):
        people = np.asarray(draft.extras["people"])
        figures |= {"people": float(people.max()), "more_people": float((people > 1).mean())}
    if draft.audio is not None:
        figures |= {
            "loudness": loudness(draft.audio),
            "clipping": clipped_share(draft.audio),
            "speech": silero_share(draft.audio) if share == "silero" else speech_share(draft.audio),
            "lip_audio_correlation": lip_audio_correlation(np.where(face, opening, 0), draft.audio, draft.fps),
        }
    return figures


def _face_seen(draft: Draft, scores: np.ndarray) -> np.ndarray:
    """(T,) whether there is a face: by the face step, or by the pose's face points."""
    if "face.npz" in draft.arrays:
        return np.asarray(draft.arrays["face.npz"]["scores"] >= _SEEN)
    return np.asarray(scores[:, FACE].mean(1) >= _SEEN)


def _face_heights(draft: Draft, points: np.ndarray) -> np.ndarray:
    """(T,) height of the face over the picture's; without meaning where there is none."""
    if "face.npz" in draft.arrays:
        boxes = draft.arrays["face.npz"]["boxes"]
        return boxes[:, 3] - boxes[:, 1]
    return np.ptp(points[:, FACE, 1], axis=1)


def _jumps(
    points: np.ndarray, scores: np.ndarray, face: np.ndarray, heights: np.ndarray, jump: float, draft: Draft
) -> float:
    """Share of the steps from frame to frame in which the head jumps, or is found in one frame and not in the other."""
    if len(points) < 2:
        return 0.0
    visible = (scores[:, NOSE] >= _SEEN) & face
    both = visible[1:] & visible[:-1]
    aspect = (draft.info.width or 1) / (draft.info.height or 1)
    moved = np.linalg.norm(np.diff(points[:, NOSE], axis=0) * (aspect, 1), axis=-1)
    height = np.maximum(np.minimum(heights[1:], heights[:-1]), 1e-6)
    # At lower frame rates the same movement is a longer step.
    far = moved / height > jump * max(1.0, 25 / draft.fps)
    flicker = visible[1:] != visible[:-1]
    return float(((far & both) | flicker).mean())


def _movement(opening: np.ndarray, fps: float) -> float:
    """Standard deviation of lip opening within a second, so that slow turning of the head does not count."""
    if len(opening) < 3:
        return 0.0
    from scipy.ndimage import uniform_filter1d

    opening = opening.astype(np.float64)
    return float((opening - uniform_filter1d(opening, max(3, round(fps)))).std())
