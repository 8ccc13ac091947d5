"""The quality filter: figures for every clip, and named reasons for those that are not kept."""

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field

from preprocessing.figures import REQUIRED, Part, SpeechShare, measure
from preprocessing.hand_quality import hand_figures
from preprocessing.speech.silero import session
from preprocessing.step import Draft, Drop
from settings import ConfigError
from settings.ranges import Fraction, NonNegative, Number, Positive

_Correlation = Annotated[float, Field(ge=-1, le=1)]
_Degrees = Annotated[float, Field(ge=0, le=180)]
_SHARES: Final = (
    "max_more_people", "min_face", "min_face_whole", "min_body", "max_legs", "min_hands", "min_hand_quality",
    "min_frontal", "max_jumps", "max_body_jumps", "max_clipping", "min_speech",
)  # fmt: skip


@dataclass(frozen=True)
class Quality:
    """Measures every clip, and drops those that are not one person speaking.

    All figures are taken before anything is decided, so that dropped clips have them too (`figures`). Reasons are
    tried in this order, and the first that fits is given: faults of the sound, people, face, body, legs, facing, hands,
    jumps, speech. The defaults keep clips with a head alone: hands are measured, and demanded only with `min_hands`.

    Sound is speech when Silero's network hears enough of it in it, or when the lips go with it, and in both cases the
    mouth has to move: that is what tells a silent face under music or under another's voice. It cannot tell a mouth
    that chews from one that speaks, nor a dubbed voice from the speaker's own.

    Args:
        require: what has to be in the picture: head, upper_body (shoulders), waist_up (elbows), half_body (elbows,
            hips) or full_body.
        max_more_people: largest share of the frames in which more than one person is seen.
        min_face: smallest share of the frames with a face.
        min_face_size: smallest height of the face, as a share of the picture's height (median of the frames).
        min_face_whole: smallest share of the frames with a face in which all of it is found, inside the picture.
        min_body: smallest share of the frames in which all required points are seen inside the picture.
        max_legs: largest share of the frames in which a knee is seen inside the picture; 1 minds no legs.
        min_frontal: smallest share of the frames with a face in which the person faces the camera; 0 demands none.
        max_yaw: a head that is turned to the side by more degrees does not face the camera; known with a face step.
        min_shoulders: shoulders that are nearer to each other, in face heights, do not face the camera. People who face
            it have about 2; turned by 50 degrees, 1.3.
        min_hands: smallest share of the frames with at least one hand; 0 demands none.
        min_hand_quality: smallest sharpness of the hands that are seen, in 0 to 1 (median; CA-11,
            `preprocessing.hand_quality`); 0 demands none and measures none, for it decodes the video once more.
        max_jumps: largest share of the frames in which the head jumps by `jump` or found points come or go.
        max_body_jumps: the same of all required points.
        jump: movement from one frame to the next that counts as a jump, in face heights.
        max_jitter: largest trembling of head and shoulders that is no movement (deviation, in face heights); none minds
            none.
        require_audio: drop clips without sound, and judge the sound of the others.
        min_loudness: quietest sound that is none of silence, in dB of full scale.
        max_clipping: largest share of the samples that stand at full scale.
        min_snr: smallest distance of the loud from the quiet moments of the sound, in dB; none demands none. Clear
            speech has 35 or more, music 20, speech under noise that is 10 dB weaker some 18.
        require_speech: drop clips in which nobody speaks.
        min_lip_movement: smallest movement of the lips (standard deviation of their opening, in face heights) that is
            speaking.
        min_speech: smallest share of the sound that is speech.
        min_lip_audio_correlation: where there is less clear speech, lips and sound that go together as well as this
            will do.
        speech_share: what hears speech: Silero's network, which also does in noise and over music, or the ups and downs
            of the sound's energy, which know clear speech only and need no network.
    """

    require: Part = "head"
    max_more_people: Fraction = 0.1
    min_face: Fraction = 0.8
    min_face_size: Fraction = 0.04
    min_face_whole: Fraction = 0.0
    min_body: Fraction = 0.8
    max_legs: Fraction = 1.0
    min_frontal: Fraction = 0.0
    max_yaw: _Degrees = 30.0
    min_shoulders: NonNegative = 1.2
    min_hands: Fraction = 0.0
    min_hand_quality: Fraction = 0.0
    max_jumps: Fraction = 0.05
    max_body_jumps: Fraction = 1.0
    jump: NonNegative = 0.5
    max_jitter: Positive | None = None
    require_audio: bool = True
    min_loudness: Number = -50.0
    max_clipping: Fraction = 0.005
    min_snr: Number | None = None
    require_speech: bool = True
    min_lip_movement: NonNegative = 0.01
    min_speech: Fraction = 0.25
    min_lip_audio_correlation: _Correlation = 0.25
    speech_share: SpeechShare = "silero"

    def __post_init__(self) -> None:
        if self.require not in REQUIRED:
            raise ConfigError(f"quality require '{self.require}': one of {', '.join(REQUIRED)}")
        if self.speech_share == "silero":
            session()  # said now where it is not there, not at the first clip
        for name in _SHARES:
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ConfigError(f"quality {name} is a share and lies in 0 to 1, got {value}")

    def __call__(self, draft: Draft) -> None:
        """Record the clip's figures.

        Raises:
            Drop: the clip is not to be kept.
        """
        figures = measure(draft, self.require, self.jump, self.speech_share, self.max_yaw, self.min_shoulders)
        if self.min_hand_quality:
            figures |= hand_figures(draft)
        draft.figures.update(figures)
        self._judge_sound(draft, figures)
        self._judge_picture(figures)
        self._judge_detection(figures)
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
        if self.min_snr is not None and figures["snr"] < self.min_snr:
            raise Drop(
                "noise", f"loud moments {figures['snr']:.1f} dB over the quiet ones, at least {self.min_snr:g} dB"
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
        if figures["face_whole"] < self.min_face_whole:
            raise Drop(
                "partial_face",
                f"all of the face in {figures['face_whole']:.0%} of its frames, at least {self.min_face_whole:.0%}",
            )
        if figures["body"] < self.min_body:
            raise Drop(
                "partial_body",
                f"{self.require} in the picture in {figures['body']:.0%} of the frames, at least {self.min_body:.0%}",
            )
        if figures["legs"] > self.max_legs:
            raise Drop("legs_seen", f"a knee in {figures['legs']:.0%} of the frames, at most {self.max_legs:.0%}")
        if figures["frontal"] < self.min_frontal:
            known = [
                f"{name} {figures[key]:.{digits}f}{unit}"
                for name, key, digits, unit in (
                    ("head turned by", "yaw", 0, " degrees"),
                    ("shoulders apart by", "shoulders", 1, " face heights"),
                )
                if key in figures
            ]
            raise Drop(
                "not_facing",
                f"facing the camera in {figures['frontal']:.0%} of the frames, at least {self.min_frontal:.0%}"
                + (f" (median: {', '.join(known)})" if known else ""),
            )

    def _judge_detection(self, figures: dict[str, float]) -> None:
        if figures["hands"] < self.min_hands:
            raise Drop("hands_unseen", f"a hand in {figures['hands']:.0%} of the frames, at least {self.min_hands:.0%}")
        if figures.get("hand_quality", 1.0) < self.min_hand_quality:
            raise Drop(
                "poor_hands", f"hands of sharpness {figures['hand_quality']:.2f}, at least {self.min_hand_quality:g}"
            )
        for what, name, most in (("head", "jumps", self.max_jumps), ("body", "body_jumps", self.max_body_jumps)):
            if figures[name] > most:
                raise Drop(
                    "unstable_detection",
                    f"points of the {what} jump in {figures[name]:.1%} of the frames, at most {most:.1%}",
                )
        if self.max_jitter is not None and figures["jitter"] > self.max_jitter:
            raise Drop(
                "unstable_detection",
                f"points tremble by {figures['jitter']:.3f} face heights, at most {self.max_jitter:g}",
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
