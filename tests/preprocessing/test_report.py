"""The report: one file, opens without a network, counts and pictures in it; fine with nothing kept."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datamodules.clip import ClipInfo
from datamodules.media.files import encode_video
from datamodules.shards.index import Index
from preprocessing.runs.report import contact_row, write_report
from tests.shards import write_shards

QUALITY = {"pose_confidence": 0.9, "face_size": 0.3, "loudness": -22.0, "hands": 0.5, "lip_movement": None}


def summary(folder: Path, **changes: Any) -> None:
    value = {
        "videos": 3,
        "clips": 4,
        "splits": {"train": 4},
        "dropped": {},
        "drops": [],
        "errors": [],
        "warnings": [],
        "seconds": {"decode": 1.5, "pose": 20.0},
        "frames_per_second": {"decode": 300.0, "pose": 25.0},
        **changes,
    }
    (folder / "summary.json").write_text(json.dumps(value))


def pictures(page: str, kind: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(rf"data:image/{kind};base64,([^\"]+)", page)]


def test_a_run_with_kept_dropped_and_broken_videos(tmp_path):
    keys = ("pose.npz", "face.npz", "speech.npz", "audio.flac", "video.mp4")
    write_shards(tmp_path, clips=4, per_shard=2, seconds=1.0, keys=keys, info=lambda i: {"extra": {"quality": QUALITY}})
    drop = {
        "file": "music.mp4", "clip": "music-0", "start": 0.0, "end": 9.4, "reason": "no_speech",
        "detail": "the lips move by 0.0002 face heights, at least 0.01", "figures": {"loudness": -15.0, "speech": None},
    }  # fmt: skip
    summary(
        tmp_path,
        dropped={"no_speech": 1},
        drops=[drop],
        errors=[{"file": "broken.mp4", "reason": "broken.mp4 is <cut short> & useless"}],
        warnings=[{"file": "odd.mp4", "warning": "2 packets could not be read"}],
    )
    path = write_report(tmp_path, clips=3, frames=2)
    page = path.read_text(encoding="utf-8")
    assert path == tmp_path / "report.html"
    assert "no_speech" in page
    assert "the lips move by 0.0002" in page
    assert "broken.mp4 is &lt;cut short&gt; &amp; useless" in page
    assert "2 packets could not be read" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page), "everything is inside the file"
    # Three clips of two frames each, 4 : 3 and 240 rows high; a bar chart and five histograms (no lip movement is
    # known).
    rows = [Image.open(io.BytesIO(data)) for data in pictures(page, "png")]
    assert [row.size for row in rows] == [(640, 240)] * 3
    assert page.count("<svg") == 6


def test_nothing_kept(tmp_path):
    Index(fps=25, shards=[], statistics={}).save(tmp_path)
    summary(tmp_path, videos=0, clips=0, splits={})
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "There are no clips." in page
    assert "No clip has a video and a pose." in page
    assert not pictures(page, "png")


def test_clips_without_video_or_face(tmp_path):
    write_shards(tmp_path, clips=2, seconds=1.0, keys=("pose.npz",))
    summary(tmp_path, clips=2)
    assert "No clip has a video and a pose." in write_report(tmp_path).read_text(encoding="utf-8")
    write_shards(tmp_path, clips=2, seconds=1.0, keys=("pose.npz", "video.mp4"))
    assert len(pictures(write_report(tmp_path, clips=5).read_text(encoding="utf-8"), "png")) == 2


def test_pose_box_and_masks_are_drawn_where_they_are():
    frames = 10
    video = encode_video([np.full((96, 128, 3), 100, np.uint8)] * frames, 25)
    info = ClipInfo(id="a", source="a.mp4", end=0.4, fps=25, frames=frames, width=128, height=96)
    keypoints, scores = np.full((frames, 134, 2), -1, np.float32), np.zeros((frames, 134), np.float32)
    keypoints[:, 2:6:3], scores[:, 2:6:3] = [(0.1, 0.8), (0.3, 0.8)], 0.9  # shoulders
    keypoints[:, 1], scores[:, 1] = (0.2, 0.8), 0.9
    keypoints[:, 113:134] = np.linspace((0.7, 0.6), (0.9, 0.9), 21)  # right hand: a mask, but too unsure to be drawn
    scores[:, 113:134] = 0.2
    boxes = np.tile(np.array([0.4, 0.1, 0.6, 0.4], np.float32), (frames, 1))
    arrays = {"pose.npz": {"keypoints": keypoints, "scores": scores}, "face.npz": {"boxes": boxes}}
    row = contact_row(info, arrays, video, frames=1, height=240).astype(int)
    assert row.shape == (240, 320, 3)
    plain = row[20, 20]
    assert np.abs(row[192, 32] - plain).max() > 60, "a shoulder"
    assert row[24:96, 128].mean(0)[0] > 180, "the left edge of the face box is yellow"
    tinted = row[180, 260]
    assert tinted[1] - tinted[0] > 15, "the hand's mask is green"
    assert np.abs(row[20, 300] - plain).max() < 4, "nothing elsewhere"
    boxes[:] = -1
    without = contact_row(info, arrays, video, frames=1, height=240).astype(int)
    assert np.abs(without[24:96, 128] - plain).max() < 4, "a missing face has no box"
