"""A picture, speech, text and poses to a video with VersaAnimator's video half: what is made, and what is refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from datamodules.media.files import MediaError, read_audio, read_metadata
from models.human.keypoints import FACE, NOSE, POINTS
from models.human.projection import project_joints
from models.versa.token2pose import PoseBank, Template
from pretrained.faces import FaceColours
from settings import ConfigError
from tests.encoded import ROUNDING, before_encoding
from tests.models.test_token2pose import waving
from tests.trainers.commands import status
from tests.trainers.test_animate_versa import CODES, runs  # noqa: F401  (a fixture)
from tests.trainers.test_animate_video_length import PEAK
from tests.trainers.versa_video_world import (
    FPS,
    FRAMES,
    HEIGHT,
    SECONDS,
    WIDTH,
    joined,
    make,
    pixels,
    save_network,
    write_world,
)
from trainers.animate import animate, main
from trainers.animation.driving import at_rate
from trainers.animation.files import write_poses
from trainers.run.exports import find_export
from trainers.versa.dials import blinks_of
from trainers.versa.video_animation import VersaVideoAnimator

HEAD = [0, *range(14, 18), *range(FACE.start, FACE.stop)]
LEGS = [9, 10, 12, 13, *range(18, 24)]


def shown(poses: np.ndarray, points: list[int]) -> np.ndarray:
    """Poses of which these points alone are seen."""
    found = np.full_like(poses, -1)
    found[..., 2] = 0
    found[:, points] = poses[:, points]
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory, runs) -> dict[str, Path]:  # noqa: F811
    """The person and the networks, those of the motion half, poses that show little."""
    folder = tmp_path_factory.mktemp("world")
    files = write_world(folder)
    pose, moving = joined(files["pose"]), joined(files["driving"])
    write_poses(folder / "head.npz", shown(pose, HEAD), (HEIGHT, WIDTH), FPS)
    write_poses(folder / "legs.npz", shown(moving, LEGS), (HEIGHT, WIDTH), FPS)
    keypoints, scores = project_joints(waving(40))
    for name in ("faceless_bank", "headless_bank"):
        PoseBank.build([Template(torch.arange(40) % CODES, keypoints, scores)], codes=CODES).save_pretrained(
            folder / name
        )
        scores[:, HEAD] = 0
    return {
        **files,
        "motion": runs["audio"],
        "text_motion": runs["text"],
        "bank": runs["bank"],
        "faceless_bank": folder / "faceless_bank",
        "headless_bank": folder / "headless_bank",
        "head": folder / "head.npz",
        "legs": folder / "legs.npz",
    }


@pytest.fixture(scope="module")
def driven(world, kept, tmp_path_factory):
    """Driven by poses and speech."""
    out = tmp_path_factory.mktemp("out") / "driven.mp4"
    with before_encoding(kept):
        return make(world, out, driving=world["driving"], audio=world["audio"])


@pytest.mark.paper("VA-9", "VA-10", "VA-16")
def test_speech_and_timed_texts_become_a_video_of_the_picture_s_shape(world, monkeypatch, tmp_path):
    from trainers.versa import body

    asked, generate = [], body.generate
    monkeypatch.setattr(body, "generate", lambda *given, **how: asked.append(given[1:]) or generate(*given, **how))
    given = {"audio": world["audio"], "motion": str(world["motion"]), "bank": str(world["bank"])}
    acted = make(world, tmp_path / "acted.mp4", text=["0-0.2 s: waves", "0.2-0.4 s: bows"], **given)
    assert (acted.frames, acted.fps) == (FRAMES, FPS)
    assert pixels(acted.video).shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert len(read_audio(acted.video)) / 16_000 == pytest.approx(SECONDS, abs=0.1)
    with np.load(acted.pose_file) as poses:
        assert poses["keypoints"].shape == (FRAMES, POINTS, 2)
    [(text, features, seconds)] = asked
    assert text == [(0, 0.2, "waves"), (0.2, 0.4, "bows")]
    assert features.shape == (8, 35)
    assert seconds == SECONDS
    said = read_metadata(acted.video)
    assert said["ai_generated"] is True
    assert set(said["inputs_sha256"]) == {"image", "pose", "audio"}
    assert said["settings"]["text"] == ["0-0.2 s: waves", "0.2-0.4 s: bows"]
    assert set(said["settings"]["networks"]) == {"motion", "tokenizer", "bank"}
    assert said["settings"]["identity"] == str(FaceColours.source), "told apart from a face network's"
    assert said["settings"]["guidance"] == {
        "first": 1.0, "reference": 1.5, **dict.fromkeys(("pose", "identity", "audio", "expression", "blink"))
    }  # fmt: skip


@pytest.mark.paper("VA-16")
@pytest.mark.parametrize(
    ("bank", "fitted", "said"),
    [
        (None, "by lengths", ""),
        ("bank", "by lengths", ""),
        ("faceless_bank", "by lengths", ""),
        ("headless_bank", "by usual proportions", "no length in common"),
    ],
)
def test_a_picture_of_a_head_acts_whatever_the_motion_shows(
    world, monkeypatch, logged, caplog, tmp_path, bank, fitted, said
):
    """The disc goes where the motion's own head goes, around the head in the picture."""
    told = spied(monkeypatch)
    given = {"bank": str(world[bank])} if bank else {}
    made = make(
        world, tmp_path / "out.mp4", pose=world["head"], audio=world["audio"], motion=str(world["motion"]), **given
    )
    assert made.frames == FRAMES
    assert made.metadata["settings"]["fitted"] == fitted
    assert said in caplog.text
    assert bool(said) == ("length in common" in caplog.text)
    own, poses = joined(world["head"])[0], joined(made.pose_file)
    np.testing.assert_allclose(poses[:, NOSE, :2].mean(0), own[NOSE, :2], atol=1e-3)
    assert poses[:, NOSE, :2].std(0).max() > 1e-4, "it moves"
    assert (poses[:, FACE, 2] > 0).all()
    skeletons = torch.cat([part.skeletons for part in told["parts"]], 1)
    assert (skeletons.flatten(2).amax(-1) > 0).all()


@pytest.mark.paper("VA-16")
def test_poses_of_which_nothing_is_in_the_picture_leave_the_head_still(world, logged, caplog, tmp_path):
    made = make(world, tmp_path / "out.mp4", pose=world["head"], driving=world["legs"], audio=world["audio"])
    assert made.metadata["settings"]["fitted"] == "still"
    assert "the person stays as in it" in caplog.text
    poses = joined(made.pose_file)
    np.testing.assert_allclose(poses, np.repeat(joined(world["head"]), FRAMES, 0), atol=1e-5)
    left = make(world, tmp_path / "left.mp4", pose=world["head"], driving=world["legs"], retarget=False)
    assert left.metadata["settings"]["fitted"] is None


def test_a_picture_without_a_head_and_without_what_the_poses_show_is_refused(world, tmp_path):
    arms = shown(joined(world["driving"]), [2, 3, 4, 5])
    write_poses(tmp_path / "arms.npz", arms, (HEIGHT, WIDTH), FPS)
    with pytest.raises(MediaError, match="shows no head, and no bone, face or hand that the poses have"):
        make(
            world, tmp_path / "out.mp4", "pose_run", pose=tmp_path / "arms.npz", driving=world["legs"],
            audio=world["audio"],
        )  # fmt: skip
    assert not (tmp_path / "out.mp4").exists()


def test_text_alone_acts_without_sound(world, tmp_path):
    made = make(world, tmp_path / "out.mp4", "pose_run", text=["0-0.4 s: waves"], motion=str(world["text_motion"]))
    assert made.frames == FRAMES
    with av.open(str(made.video)) as container:
        assert not container.streams.audio


def test_poses_of_the_motion_half_come_at_the_video_s_frame_rate():
    poses = np.zeros((10, POINTS, 3), np.float32)
    poses[..., 0], poses[..., 2] = np.arange(10)[:, None] / 10, 1
    faster = at_rate(poses, 25, 50, 24)
    np.testing.assert_allclose(faster[:19, 0, 0], np.arange(19) / 20, atol=1e-6)
    assert (faster[19:, 0, 0] == faster[18, 0, 0]).all(), "the last is held"


def test_driving_poses_and_speech_each_change_the_video(world, driven, encoded, tmp_path):
    silent = make(world, tmp_path / "silent.mp4", driving=world["driving"])
    with av.open(str(silent.video)) as container:
        assert not container.streams.audio
    spoken = make(world, tmp_path / "spoken.mp4", audio=world["audio"], motion=str(world["motion"]))
    videos = [encoded[each.video] for each in (driven, silent, spoken)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(videos[one] - videos[other]).max() > ROUNDING


def test_the_same_seed_is_the_same_video_and_another_is_another(world, driven, encoded, tmp_path):
    given = {"driving": world["driving"], "audio": world["audio"]}
    assert make(world, tmp_path / "again.mp4", **given).video.read_bytes() == driven.video.read_bytes()
    other = make(world, tmp_path / "other.mp4", seed=4, **given)
    assert np.abs(encoded[driven.video] - encoded[other.video]).max() > ROUNDING


@pytest.mark.paper("VA-14")
@pytest.mark.parametrize(
    ("options", "from_frame"),
    [
        ({"expression": ["happy"]}, 0),
        ({"expression": ["0.2-0.4 s: sad"]}, 5),
        ({"blink": ["0.05"]}, 0),
        ({"blink": ["driving"]}, 0),
        ({"identity": "off"}, 0),
    ],
)
def test_what_the_face_does_is_set_driven_or_dropped(world, monkeypatch, tmp_path, options, from_frame):
    """The network is told so, of the frames that are meant."""
    told = spied(monkeypatch)
    made = make(world, tmp_path / "out.mp4", driving=world["driving"], **options)
    source, parts = told["source"], told["parts"]
    if "identity" in options:
        assert source.identity is None
        assert made.metadata["settings"]["identity"] is None
        return
    np.testing.assert_allclose(source.identity[0], _identity(world), rtol=1e-6)
    name = next(iter(options))
    values = torch.cat([getattr(part, name) for part in parts], 1)[0]
    unset = "blink" if name == "expression" else "expression"
    assert all(getattr(part, unset) is None for part in parts), "what nobody says is the network's null"
    assert (values[:from_frame] == -1).all()
    if options == {"blink": ["driving"]}:
        with np.load(world["driving"]) as poses:
            whole = np.concatenate([poses["keypoints"], poses["scores"][..., None]], -1)
        expected = torch.from_numpy(blinks_of(whole, (HEIGHT, WIDTH)))
    else:
        label = {"happy": 1.0, "0.2-0.4 s: sad": 2.0, "0.05": 0.05}[options[name][0]]
        expected = torch.full((FRAMES,), label)
    np.testing.assert_allclose(values[from_frame:], expected[from_frame:], rtol=1e-6)


def spied(monkeypatch) -> dict[str, Any]:
    """What the network is told, a window at a time."""
    from trainers.versa import video_animation

    told: dict[str, Any] = {"parts": []}
    generate = video_animation.generate_latents

    def listen(network, source, **how):
        drive = source.drive

        def noted(begin, end):
            told["parts"].append(drive(begin, end))
            return told["parts"][-1]

        told["source"], told["how"] = source, how
        object.__setattr__(source, "drive", noted)
        return generate(network, source, **how)

    monkeypatch.setattr(video_animation, "generate_latents", listen)
    return told


def _identity(world) -> np.ndarray:
    from pretrained.faces import embeddings

    with np.load(world["pose"]) as pose:
        whole = np.concatenate([pose["keypoints"], pose["scores"][..., None]], -1)
    picture = np.asarray(Image.open(world["image"]))
    return embeddings(FaceColours(), picture[None], whole)[0]


def test_constant_parts_are_made_once_and_each_frame_is_driven_once(world, monkeypatch, tmp_path):
    told, calls = spied(monkeypatch), []
    embeddings = FaceColours.__call__
    monkeypatch.setattr(
        FaceColours, "__call__", lambda self, faces: calls.append(len(faces)) or embeddings(self, faces)
    )
    made = make(world, tmp_path / "out.mp4", driving=world["driving"], audio=world["audio"], steps=3)
    assert made.frames == FRAMES
    assert sum(part.skeletons.shape[1] for part in told["parts"]) == FRAMES
    assert len(told["parts"]) > 1, "several windows"
    assert calls == [1]


def test_a_draft_takes_few_steps_without_guidance_and_what_is_asked_for_stands(world, tmp_path):
    made = make(world, tmp_path / "draft.mp4", driving=world["driving"], quality="draft", guidance_audio=2.0, size=32)
    said = made.metadata["settings"]
    assert said["guidance"]["reference"] == 1.0
    assert said["guidance"]["audio"] == 2.0
    assert said["steps"] == 2  # the network's own are fewer
    assert pixels(made.video).shape[1:] == (32, 26, 3)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("audio_run", {"image": None, "driving": "driving"}, "give image="),
    ("audio_run", {"audio": "audio"}, "give motion=RUN"),
    ("audio_run", {"motion": "motion"}, "give audio=FILE"),
    ("audio_run", {"motion": "motion", "driving": "driving"}, "not both"),
    ("audio_run", {"text": ["waves"], "driving": "driving"}, "not both"),
    ("audio_run", {"audio": "audio", "motion": "pose_run"}, "one of versa.audio_motion is needed"),
    ("audio_run", {"audio": "audio", "motion": "text_motion"}, "give text=WORDS"),
    ("audio_run", {"audio": "audio", "motion": "motion", "text": ["0-0.2 s: waves", "0.2-3 s: bows"]},
     r"from 0.2 to 3 s ends behind the end of the sound, which is 0.4 s"),
    ("audio_run", {"audio": "audio", "motion": "motion", "text": ["2-3 s: bows"]}, "starts behind the end of"),
    ("audio_run", {"audio": "audio", "motion": "motion", "seconds": 2.0}, "leave seconds out"),
    ("audio_run", {"driving": "driving", "expression": ["bored"]}, "the network knows neutral, happy, sad"),
    ("audio_run", {"driving": "driving", "expression": ["0-9 s: happy"]}, "behind the end of the video"),
    ("audio_run", {"driving": "driving", "expression": ["0-0.3: happy", "0.2-0.4: sad"]}, "overlaps another span"),
    ("audio_run", {"driving": "driving", "blink": ["wide"]}, "give the height of the eyes"),
    ("audio_run", {"audio": "audio", "motion": "motion", "blink": ["driving"]}, "give driving=FILE"),
    ("audio_run", {"driving": "driving", "identity": "nowhere.onnx"}, "identity=nowhere.onnx"),
    ("audio_run", {"driving": "driving", "overlap": 5}, "overlap has to be from 0 to 4"),
    ("pose_run", {"driving": "driving", "expression": ["happy"]}, "pays no attention to the face"),
    ("pose_run", {"driving": "driving", "guidance_audio": 2.0}, "pays no attention to the face"),
    ("audio_run", {"driving": "driving", "speech": "wavlm"}, "leave it out"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "options", "said"), REFUSED)
def test_what_does_not_go_together_is_refused_in_words(world, tmp_path, run, options, said):
    given = {key: str(world[value]) if isinstance(value, str) and value in world else value
             for key, value in options.items()}  # fmt: skip
    with pytest.raises(ConfigError, match=said):
        make(world, tmp_path / "out.mp4", run, **given)
    assert not (tmp_path / "out.mp4").exists()


def test_two_people_in_a_picture_are_refused_in_a_line(world, monkeypatch, tmp_path, capsys):
    """Who is meant cannot be known; `detect_image` says so of two faces."""
    import preprocessing.pose.people as people

    monkeypatch.setattr(people, "FaceCounter", lambda: lambda picture: 2)
    Image.new("RGB", (64, 64)).save(tmp_path / "two.png")
    words = [f"run={world['audio_run']}", f"image={tmp_path / 'two.png'}", f"driving={world['driving']}"]
    assert status(main, [*words, f"out={tmp_path / 'out.mp4'}"]) == 2
    said = capsys.readouterr().err
    assert "2 people found" in said
    assert "Traceback" not in said


def test_dials_are_words_of_the_command_line(world, tmp_path, capsys):
    words = [
        f"run={world['audio_run']}", f"image={world['image']}", f"pose={world['pose']}", f"driving={world['driving']}",
        "expression=happy", "--blink", "0-0.2 s: 0.05", "--blink", "0.2-0.4 s: 0.3", f"out={tmp_path / 'out.mp4'}",
    ]  # fmt: skip
    assert main(words) == 0, capsys.readouterr().err
    said = read_metadata(tmp_path / "out.mp4")["settings"]
    assert said["expression"] == ["happy"]
    assert said["blink"] == ["0-0.2 s: 0.05", "0.2-0.4 s: 0.3"]
    assert main([*words[:4], "blink=0.3", f"out={tmp_path / 'one.mp4'}"]) == 0, capsys.readouterr().err
    assert read_metadata(tmp_path / "one.mp4")["settings"]["blink"] == ["0.3"]


def test_a_network_at_another_frame_rate_is_driven_in_time(world, tmp_path):
    vae = world["folder"] / "vae"
    run = save_network(tmp_path / "slow", "versa.pose_video", vae, face_attention=False, fps=10.0)
    made = animate(
        run=str(run), out=tmp_path / "out.mp4", image=world["image"], pose=world["pose"], audio=world["audio"],
        motion=str(world["motion"]),
    )  # fmt: skip
    assert (made.frames, made.fps) == (4, 10.0)
    assert VersaVideoAnimator(find_export(run), device="cpu").fps == 10.0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(world, tmp_path):
    peaks = []
    for seconds in (4.0, 34.0):
        frames = round(seconds * FPS)
        with np.load(world["driving"]) as poses:
            one = np.concatenate([poses["keypoints"], poses["scores"][..., None]], -1)
        write_poses(tmp_path / "long.npz", one[np.arange(frames) % len(one)], (HEIGHT, WIDTH), FPS)
        times = np.arange(round(seconds * 16_000)) / 16_000
        soundfile.write(tmp_path / "long.wav", 0.4 * np.sin(2 * np.pi * 150 * times), 16_000)
        words = [
            f"run={world['audio_run']}", f"image={world['image']}", f"pose={world['pose']}", "size=32", "steps=1",
            f"driving={tmp_path / 'long.npz'}", f"audio={tmp_path / 'long.wav'}", f"out={tmp_path / 'out.mp4'}",
            "guidance_reference=1",
        ]  # fmt: skip
        done = subprocess.run([sys.executable, "-c", PEAK, *words], check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout.rsplit("peak ", 1)[1]))
        with av.open(str(tmp_path / "out.mp4")) as video:
            assert sum(1 for _ in video.decode(video=0)) == frames
    # 750 frames more; the room is for what allocators do not give back.
    assert peaks[1] - peaks[0] < 40, peaks
