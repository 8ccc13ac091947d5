"""Real clips through the whole pipeline: talkers are kept, the others are dropped for what is wrong with them."""

import os
from pathlib import Path

import pytest

from preprocessing.pipeline import Dropped, process_video
from preprocessing.step import Draft

MEDIA = Path(os.environ.get("COSPEECH_MEDIA", "nowhere"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (MEDIA / "videos").is_dir(), reason="no real media (COSPEECH_MEDIA)"),
]


@pytest.mark.parametrize("name", sorted(path.name for path in (MEDIA / "videos").glob("*.mp4")))
def test_talking_people_are_kept(name):
    (clip,) = process_video(MEDIA / "videos" / name)
    assert isinstance(clip, Draft), f"dropped: {clip.reason}, {clip.detail}"
    assert clip.figures["face"] > 0.95
    assert clip.figures["speech"] > 0.5


@pytest.mark.parametrize(
    ("name", "reason"), [("liveportrait_s18.mp4", "no_speech"), ("liveportrait_s20.mp4", "silence")]
)
def test_others_are_dropped_with_the_right_reason(name, reason):
    (clip,) = process_video(MEDIA / "videos_negative" / name)
    assert isinstance(clip, Dropped)
    assert clip.reason == reason
