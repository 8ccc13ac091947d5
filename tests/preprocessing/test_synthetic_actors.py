"""Synthetic actors: what is drawn agrees with its key points, its sound and its truth, at every scale."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from datamodules.media.files import read_audio, read_frames
from models.human import keypoints as layout
from models.versa.video.network import EXPRESSIONS as LABELS
from preprocessing.face.geometry import eye_openness
from preprocessing.sources.manifest import read_sources
from preprocessing.synthetic.files import read_truth
from preprocessing.synthetic.speech import RATE
from preprocessing.synthetic_actors.clips import ABLE, KINDS, Recipe, make_clip
from preprocessing.synthetic_actors.expressions import EXPRESSIONS
from preprocessing.synthetic_actors.videos import generate
from settings import ConfigError

PLAIN = Recipe("a", 0, 0, "half", "act", "train", 0, 3.0, 8.0, 96, 25.0)
PLACES = [(scale, kind) for scale, kinds in KINDS.items() for kind in kinds]


@pytest.fixture(scope="module")
def clips():
    """One clip of each kind at each scale."""
    return {
        (scale, kind): make_clip(dataclasses.replace(PLAIN, scale=scale, kind=kind, number=number % 4, clip=number))
        for number, (scale, kind) in enumerate(PLACES)
    }


def brightness(frame: np.ndarray, point: np.ndarray, reach: int) -> float:
    x, y = (int(value * len(frame)) for value in point)
    return float(frame[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].mean())


def colour(frame: np.ndarray, point: np.ndarray, reach: int = 1) -> np.ndarray:
    x, y = (int(value * len(frame)) for value in point)
    return frame[y - reach : y + reach + 1, x - reach : x + reach + 1].reshape(-1, 3).astype(float).mean(0)


@pytest.mark.parametrize("place", PLACES, ids="-".join)
def test_frames_sound_poses_and_truth_are_of_one_length(clips, place):
    clip = clips[place]
    frames = clip.person.frames
    assert len(list(clip.frames())) == frames == len(clip.truth["blink"]) == len(clip.truth["opening"])
    assert clip.person.keypoints.shape == (frames, layout.POINTS, 2)
    assert len(clip.audio) == round(frames / 25 * RATE)
    assert 2.9 <= frames / 25 <= 8.1
    assert bool(clip.truth["actions"]) == ("act" in place[1])
    assert bool(clip.truth["phonemes"]) == ("talk" in place[1])
    assert all(action["name"] in ABLE[place[0]] for action in clip.truth["actions"])
    assert np.isfinite(clip.person.keypoints).all()


@pytest.mark.paper("VA-16")
def test_a_scale_shows_as_much_of_a_person_as_it_says(clips):
    seen = {scale: clips[scale, "talk"].person.scores[0] == 1 for scale in KINDS}
    assert all(scores[layout.FACE].all() for scores in seen.values())
    ankles, wrists = [10, 13], [layout.RIGHT_WRIST, layout.LEFT_WRIST]
    assert not seen["head"][[*ankles, *wrists]].any()
    assert seen["half"][wrists].all()
    assert not seen["half"][ankles].any()
    assert seen["whole"][[*ankles, *wrists]].all()


@pytest.mark.parametrize("scale", ["half", "whole"])
def test_hands_and_face_are_drawn_where_the_points_are(clips, scale):
    clip = clips[scale, "act"]
    frame, points = next(clip.frames()), clip.person.keypoints[0]
    look = clip.person.speaker.look
    for point in (layout.RIGHT_HAND.start + 9, layout.LEFT_HAND.start + 9):
        here, skin, cloth = colour(frame, points[point], 0), np.array(look.skin), np.array(look.cloth)
        assert np.abs(here - skin).sum() < np.abs(here - cloth).sum()
    chest = (points[layout.NECK] + points[[8, 11]].mean(0)) / 2
    assert np.abs(colour(frame, chest) - look.cloth).sum() < 110


def test_the_blink_is_in_the_points_and_in_the_pixels(clips):
    """At head scale eyes are four pixels high: what the truth says of them can be read off the frames."""
    clip = clips["head", "talk"]
    blink = np.array(clip.truth["blink"])
    assert blink.max() > 0.9, "somebody blinks"
    face = clip.person.keypoints[:, layout.FACE]
    assert np.corrcoef(eye_openness(face), blink)[0, 1] < -0.95
    height = face[:, [41, 46], 1].max(1) - face[:, [37, 44], 1].min(1)
    assert 96 * np.quantile(height, 0.9) >= 4
    frames = list(clip.frames())
    eyes = clip.person.keypoints[:, [14, 15]]
    white = [np.mean([brightness(frame, eye, 2) for eye in pair]) for frame, pair in zip(frames, eyes, strict=True)]
    assert abs(np.corrcoef(white, blink)[0, 1]) > 0.5


def test_lips_follow_the_speech(clips):
    for scale in KINDS:
        clip = clips[scale, "talk"]
        opening = layout.lip_opening(clip.person.keypoints)
        assert np.corrcoef(opening, clip.truth["opening"])[0, 1] > 0.9
    silent = clips["half", "act"]
    assert max(silent.truth["opening"]) < 0.05


def test_expressions_change_the_face_and_labels_are_the_networks():
    assert set(EXPRESSIONS) <= set(LABELS)
    found = {}
    for clip in range(40):
        made = make_clip(dataclasses.replace(PLAIN, clip=clip, least=3.0))
        found.setdefault(made.truth["expression"], made.person.keypoints[0, layout.FACE])
        if len(found) == len(EXPRESSIONS):
            break
    assert set(found) == set(EXPRESSIONS)

    def corners(face: np.ndarray) -> float:
        """How far the corners of the mouth are above its middle, in eye distances."""
        apart = np.linalg.norm(face[36] - face[45])
        return float((face[[51, 57], 1].mean() - face[[48, 54], 1].mean()) / apart)

    def brows(face: np.ndarray) -> float:
        """How far the inner ends of the brows are above the eyes."""
        return float((face[[39, 42], 1].mean() - face[[21, 22], 1].mean()) / np.linalg.norm(face[36] - face[45]))

    assert corners(found["happy"]) > corners(found["neutral"]) + 0.04 > corners(found["sad"]) + 0.06
    assert brows(found["surprised"]) > brows(found["neutral"]) + 0.05 > brows(found["angry"]) + 0.08


def test_an_action_is_done_while_the_truth_says_so():
    for clip in range(30):
        made = make_clip(dataclasses.replace(PLAIN, clip=clip))
        action = made.truth["actions"][0]
        if action["name"] != "raise" or action["side"] == "both":
            continue
        wrist = getattr(layout, f"{action['side'].upper()}_WRIST")
        up = made.person.keypoints[:, wrist, 1] < made.person.keypoints[:, layout.NOSE, 1]
        when = np.flatnonzero(up) / 25
        assert len(when) > 5
        assert action["start"] < when[0] < when[-1] < action["end"]
        other = layout.LEFT_WRIST + layout.RIGHT_WRIST - wrist
        assert (made.person.keypoints[:, other, 1] > made.person.keypoints[:, layout.NECK, 1]).all()
        break
    else:
        pytest.fail("nobody raises an arm")


def test_the_same_recipe_gives_the_same_clip(clips):
    again = make_clip(clips["half", "talk_act"].recipe)
    first = clips["half", "talk_act"]
    assert again.truth == first.truth
    assert np.array_equal(again.audio, first.audio)
    assert np.array_equal(again.person.keypoints, first.person.keypoints)
    assert np.array_equal(next(again.frames()), next(first.frames()))


def test_a_set_is_written_read_and_kept(tmp_path: Path):
    options = {"speakers": 1, "clips_per_speaker": 3, "unseen_speakers": 1, "seconds": (3.0, 6.0), "size": 64}
    manifest = generate(tmp_path, **options)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [row["split"] for row in rows] == ["train", "val", "test"] + ["test_unseen"] * 3
    assert {row["extra"]["scale"] for row in rows} == {"head", "half", "whole"}
    assert all(row["extra"]["expression"] in EXPRESSIONS for row in rows)
    assert len(read_sources(manifest)) == 6
    video = tmp_path / rows[0]["file"]
    frames, truth = list(read_frames(video)), read_truth(video)
    assert len(frames) == truth["frames"]
    assert frames[0].shape == (64, 64, 3)
    sound = read_audio(video)
    assert abs(len(sound) / RATE - len(frames) / 25) < 0.1
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.mp4")}
    (tmp_path / rows[1]["file"]).unlink()
    generate(tmp_path, **options)
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.mp4")}
    assert {name for name in before if before[name] != after[name]} == {rows[1]["file"]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scales": ("leg",)}, "leg is no scale; there are head, half, whole"),
        ({"scales": ()}, "none is no scale"),
        ({"seconds": (3.0, 4.0)}, "a longest of 6 or more"),
        ({"seconds": (1.0, 8.0)}, "a shortest of at least 2"),
        ({"size": 63}, "an even number of pixels from 64 on"),
        ({"fps": 300.0}, "needs 5 to 120"),
        ({"test_clips": 12}, "none is left to train on"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        generate(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
