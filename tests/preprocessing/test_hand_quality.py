"""The sharpness of hands, and the filter that goes by it (CA-11)."""

import cv2
import numpy as np
import pytest

from datamodules.media.files import encode_video
from models.human.keypoints import HANDS, LEFT_HAND, RIGHT_HAND
from preprocessing.hand_quality import hand_figures, sharpness
from preprocessing.step import Draft
from settings import ConfigError
from tests.preprocessing.test_quality import FRAMES, hide, reason, speaker

SIDE = 192


def textured(seed: int = 0) -> np.ndarray:
    """A picture of patches with edges in it."""
    random = np.random.default_rng(seed)
    return cv2.resize(random.integers(0, 256, (24, 24, 3), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)


def blurred(picture: np.ndarray, size: int, along: str = "both") -> np.ndarray:
    return cv2.blur(picture, {"both": (size, size), "x": (size, 1), "y": (1, size)}[along])


@pytest.mark.paper("CA-11")
def test_sharpness_is_what_a_further_blur_takes_away():
    """One edge: blurred over 9 pixels, its step of 255 becomes 9 of 28.3, one of which is where it was."""
    edge = np.zeros((64, 64, 3), np.uint8)
    edge[:, 32:] = 255
    assert sharpness(edge) == pytest.approx(1 - 1 / 9, abs=0.01)
    soft = np.broadcast_to(np.clip((np.arange(64) - 28) * 255 // 9, 0, 255)[None, :, None], (64, 64, 3))
    grey, once = soft[0, :, 0].astype(float), np.convolve(np.pad(soft[0, :, 0], 4, "edge"), np.ones(9) / 9, "valid")
    before, after = np.abs(np.diff(grey)), np.abs(np.diff(once))
    by_hand = np.maximum(before - after, 0).sum() / before.sum()
    assert sharpness(soft.astype(np.uint8)) == pytest.approx(by_hand, abs=0.01)
    assert by_hand < 0.5


@pytest.mark.paper("CA-11")
def test_the_more_blur_the_lower_the_score_whatever_the_contrast():
    picture = textured()
    scores = [sharpness(blurred(picture, size)) for size in (1, 3, 7, 15)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.7
    assert scores[-1] < 0.4
    assert sharpness((picture * 0.3 + 100).astype(np.uint8)) == pytest.approx(scores[0], abs=0.02)
    assert sharpness(blurred(picture, 15, "x")) == pytest.approx(sharpness(blurred(picture, 15, "y")), abs=0.1)
    assert sharpness(blurred(picture, 15, "x")) < 0.45, "a hand that moves is blurred along its way alone"
    assert sharpness(np.full((32, 32, 3), 90, np.uint8)) == 0


def clip(hands: int = 1, rest: int = 1) -> Draft:
    """A talking person whose hands, or whose rest, are blurred over so many pixels."""
    draft = speaker()
    low, high = np.array([0.2, 0.6]), np.array([0.4, 0.9])
    for number, hand in enumerate((LEFT_HAND, RIGHT_HAND)):
        random = np.random.default_rng(number).uniform(size=(21, 2))
        random[:2] = ((0, 0), (1, 1))
        draft.arrays["pose.npz"]["keypoints"][:, hand] = low + (0.4 * number, 0) + random * (high - low)
    frame = blurred(textured(), rest)
    top, bottom = round(0.5 * SIDE), SIDE
    frame[top:bottom] = blurred(textured(1), hands)[top:bottom]
    draft.video = encode_video((frame for _ in range(FRAMES)), draft.fps, crf=5)
    return draft


@pytest.mark.paper("CA-11")
def test_clips_whose_hands_are_blurred_are_dropped_for_it():
    sharp, soft = clip(), clip(hands=21)
    assert reason(sharp, min_hand_quality=0.5) is None
    assert reason(soft, min_hand_quality=0.5) == "poor_hands"
    assert sharp.figures["hand_quality"] > 0.6 > 0.5 > soft.figures["hand_quality"]
    assert reason(clip(rest=21), min_hand_quality=0.5) is None, "only the hands are looked at"


@pytest.mark.paper("CA-11")
def test_hands_that_are_not_seen_have_no_score():
    unseen = hide(clip(hands=21), HANDS, slice(None))
    assert hand_figures(unseen) == {}
    assert reason(unseen, min_hand_quality=0.5) is None
    assert reason(unseen, min_hand_quality=0.5, min_hands=0.5) == "hands_unseen"


def test_it_is_measured_where_it_is_demanded_alone():
    draft = clip(hands=21)
    assert reason(draft) is None
    assert "hand_quality" not in draft.figures
    with pytest.raises(ConfigError, match="min_hand_quality is a share"):
        reason(draft, min_hand_quality=1.5)
