"""Scene cuts: found where they are, not where somebody only talks; pieces keep to their lengths."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from preprocessing.pipeline import Dropped, process_video
from preprocessing.videos.scenes import ContentScenes
from tests.preprocessing.clips import tone, write_clip

MEDIA = os.environ.get("COSPEECH_MEDIA")
BARE = {"pose": "sidecar", "face": "off", "speech": [], "quality": "off"}


@pytest.fixture(autouse=True)
def _no_pose(monkeypatch):
    """Without a pose step these tests ask about cutting alone."""
    from preprocessing import pipeline

    monkeypatch.setattr(pipeline.POSE, "build", lambda value: None)
    monkeypatch.setattr(pipeline.POSE, "get", lambda name: dict)


def shots(*colours, length):
    """Pictures that change their scene every `length` frames, and move a little meanwhile."""

    def picture(i):
        image = np.full((96, 128, 3), colours[i // length], np.uint8)
        left = 20 + i % 30
        image[30:60, left : left + 30] = 255 - image[0, 0]
        return image

    return picture


def test_a_hard_cut_is_found_at_its_frame(tmp_path):
    picture = shots((200, 60, 40), (40, 90, 200), length=40)
    path = write_clip(tmp_path / "a.mp4", seconds=3.2, height=96, width=128, picture=picture, audio=tone(3.2))
    clips = process_video(path, min_clip_seconds=1, **BARE)
    assert [(clip.info.start, clip.info.end, clip.info.frames) for clip in clips] == [(0, 1.6, 40), (1.6, 3.2, 40)]
    assert [len(clip.audio) for clip in clips] == [25_600, 25_600]
    assert [int(clip.source_frames[0]) for clip in clips] == [0, 40]
    assert [clip.info.id[-3:] for clip in clips] == ["000", "001"]


def test_pieces_too_short_are_named(tmp_path):
    picture = shots((200, 60, 40), (40, 90, 200), (30, 160, 30), length=30)
    path = write_clip(tmp_path / "a.mp4", seconds=2.8, height=96, width=128, picture=picture)
    clips = process_video(path, min_clip_seconds=1.2, **BARE)
    assert [getattr(clip, "reason", "kept") for clip in clips] == ["kept", "kept", "scene_cut"]
    assert "0.40 s" in clips[2].detail
    assert Counter(clip.reason for clip in process_video(path, when_cut="drop", **BARE)) == {"scene_cut": 3}
    whole = process_video(path, scenes="off", **BARE)
    assert [clip.info.frames for clip in whole] == [70]
    assert process_video(path, scenes="off", min_clip_seconds=3, **BARE)[0].reason == "too_short"


def test_long_takes_are_cut_by_length(tmp_path):
    path = write_clip(tmp_path / "a.mp4", seconds=5.4, audio=tone(5.4))
    clips = process_video(path, max_clip_seconds=2, min_clip_seconds=1, **BARE)
    assert [clip.info.frames for clip in clips] == [50, 50, 35]
    short = process_video(path, max_clip_seconds=2.5, min_clip_seconds=1, **BARE)
    assert isinstance(short[2], Dropped)
    assert short[2].reason == "too_short"
    sound = np.concatenate([clip.audio for clip in clips])
    whole = process_video(path, **BARE)[0].audio
    assert np.array_equal(sound, whole)


def test_one_detector_serves_many_videos():
    scenes = ContentScenes()
    dark, bright = np.full((64, 64, 3), 10, np.uint8), np.full((64, 64, 3), 250, np.uint8)
    assert [scenes(image) for image in (dark, dark, bright, bright)] == [False, False, True, False]
    scenes.restart()
    assert not scenes(dark)


@pytest.mark.skipif(MEDIA is None, reason="COSPEECH_MEDIA is not set")
def test_talking_people_are_no_scene_cuts():
    from preprocessing.videos.decode import SourceVideo

    for path in sorted(Path(MEDIA, "videos").glob("*.mp4"))[2:]:
        scenes = ContentScenes()
        with SourceVideo(path, size=256) as video:
            assert not any(scenes(slot.rgb) for slot in video.slots() if not slot.held), path.name
