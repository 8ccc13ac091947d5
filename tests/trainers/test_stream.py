"""ChatAnyone live: a stream gives what a file gives, moves in silence, and the command with all that may go wrong."""

import logging
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from datamodules.media.files import read_audio, read_frames, read_metadata
from models.chatanyone.face_motion import FaceMotion
from models.chatanyone.generate import generate
from models.chatanyone.portrait import Portrait, perform
from settings import ConfigError
from settings.hashes import file_hash
from tests.heads import statistics
from tests.portraits import body_statistics
from tests.trainers.commands import status
from tests.trainers.live import (
    FACE_SIZES,
    RATE,
    SIZE,
    networks,
    portrait,
    pose,
    simple,
    talk,
)
from trainers import stream as streaming
from trainers.chatanyone.live import live_of
from trainers.stream import Stream
from trainers.streaming.stream import Frame

STILL = np.zeros((SIZE, SIZE, 3), np.uint8)
SECONDS = 2.7


def live(body: bool = True, **options: Any) -> Any:
    return live_of(portrait(networks(body=body), **options), STILL)


def pushed(stream: Stream, sound: np.ndarray, milliseconds: int, rate: int = RATE) -> list[Frame]:
    step, frames = milliseconds * rate // 1000, []
    for start in range(0, len(sound), step):
        frames += stream.push(sound[start : start + step], rate)
    return frames + stream.finish()


@pytest.fixture(scope="module", params=["whole body", "head alone"])
def offline(request: pytest.FixtureRequest) -> tuple[bool, np.ndarray]:
    """Whether there is a network of the body; frames of the whole sound, by what makes a file."""
    body = request.param == "whole body"
    whole = portrait(networks(body=body), seed=3, guidance=3.0)
    frames = perform(whole, torch.from_numpy(talk(SECONDS)))
    return body, np.concatenate([whole.pictures(part).numpy() for part in frames])


@pytest.mark.paper("CA-15")
@pytest.mark.parametrize("milliseconds", [40, 200, 1000])
def test_a_stream_gives_the_frames_of_the_whole(milliseconds, offline):
    """Rounding alone differs: sums of float32 over other numbers of windows at once, less than a level of the
    picture's 255, so at most the neighbouring level where a value lies between two."""
    body, wanted = offline
    frames = pushed(Stream(live(body, seed=3, guidance=3.0)), talk(SECONDS), milliseconds)
    pictures = np.stack([frame.picture for frame in frames])
    assert pictures.shape == wanted.shape == (round(SECONDS * 25), SIZE, SIZE, 3)
    away = np.abs(pictures.astype(int) - wanted.astype(int))
    assert away.max() <= 1
    assert (away > 0).mean() < 0.01


def test_what_a_stream_is_compared_with_moves_and_hears(offline):
    body, wanted = offline
    assert np.abs(np.diff(wanted.astype(int), axis=0)).max() > 8
    silent = pushed(Stream(live(body, seed=3, guidance=3.0)), 0 * talk(SECONDS), 200)
    assert np.abs(np.stack([frame.picture for frame in silent]).astype(int) - wanted.astype(int)).max() > 8


@pytest.mark.paper("CA-15")
def test_what_is_said_later_than_the_look_ahead_changes_no_frame():
    sound = talk(2.0)
    other = sound.copy()
    other[RATE:] = talk(2.0, seed=9)[RATE:]
    one, two = (pushed(Stream(live()), each, 200) for each in (sound, other))
    same = 20  # 1 s less 0.2 s of look-ahead, in whole windows
    for first, second in zip(one[:same], two[:same], strict=True):
        assert np.abs(first.picture.astype(int) - second.picture.astype(int)).max() <= 1
    assert any((first.picture != second.picture).any() for first, second in zip(one[same:], two[same:], strict=True))


def test_without_a_network_of_the_body_it_stays_and_the_head_moves():
    made = portrait()
    moves = made.move(made.hear(torch.from_numpy(talk(1.0)), 0))
    for held, own in zip((*moves.move, moves.hands), (*made.source.motion, made._hands), strict=True):
        torch.testing.assert_close(held[0], own.expand_as(held[0]))
    whole = portrait(networks(body=True))
    moves = whole.move(whole.hear(torch.from_numpy(talk(1.0)), 0))
    assert (moves.move.movement[0] - whole.source.motion.movement).abs().max() > 1e-3
    assert (moves.heads[0] - made.heads).abs().max() > 1e-3


@pytest.mark.paper("CA-15")
@pytest.mark.parametrize("minutes", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_silence_moves_too_and_does_not_run_away(minutes):
    """The networks of the head alone: 10 minutes are 3,000 windows."""
    made = portrait(networks(refined=False), steps=1)
    silence, motion = torch.zeros(0), []
    for number in range(300 * minutes):
        head = made.face(made.hear(silence, number))
        if number % (10 * minutes) == 0:
            motion.append(head.pose[0])
    poses = torch.cat(motion)
    assert poses.isfinite().all()
    spread = poses.std(0)
    early, late = (poses[part].std(0) for part in (slice(0, 50), slice(-50, None)))
    assert (spread > 1e-4).all()  # it moves, at the end as at the beginning
    assert (late > 0.2 * early).all()
    assert ((poses - made._face.pose).abs() <= 6 * made.networks.face.space.moves + 1e-4).all()


def test_a_window_left_out_is_gone_on_behind():
    made = portrait(networks(body=True))
    sound = torch.from_numpy(talk(2.0))
    made.skip("face")
    made.skip("body")
    assert made.number == 0  # there is nothing to go on from
    made.move(made.hear(sound, 0))
    windows = (made._face, made._body)
    before = [each._before.clone() for each in windows]
    made.skip("face")
    assert [each.number for each in windows] == [2, 1]
    made.skip("body")
    assert [each.number for each in windows] == [2, 2]
    assert all(torch.equal(each._before, held) for each, held in zip(windows, before, strict=True))
    made.move(made.hear(sound, 2))
    assert made.number == 3


def test_a_stream_that_is_too_slow_leaves_out_windows_and_goes_on(monkeypatch):
    """A head whose first window takes long: of those that wait behind it the newest alone is made."""
    face, free = Portrait.face, threading.Event()

    def slow(self: Portrait, heard: torch.Tensor) -> Any:
        assert free.wait(20)
        return face(self, heard)

    stream = Stream(live(), late=0.1)
    monkeypatch.setattr(Portrait, "face", slow)
    frames = stream.push(talk(1.0), RATE, arrived=time.monotonic() - 100)
    free.set()
    frames += stream.finish()
    made = [frame.made for frame in frames]
    assert made[:15] == [True] * 5 + [False] * 10
    assert all(made[20:])
    assert all((frame.picture == frames[4].picture).all() for frame in frames[5:15])
    assert (frames[20].picture != frames[4].picture).any()


def test_fewer_steps_and_dials_reach_the_network():
    plain = generate(portrait().networks.face, torch.from_numpy(talk(1.0))[None], portrait()._face.pose, steps=1)
    made = portrait(steps=1)
    got = torch.cat([made.face(made.hear(torch.from_numpy(talk(1.0)), n)).pose for n in range(5)], 1)
    torch.testing.assert_close(got, plain.pose, atol=1e-3, rtol=1e-3)
    for options in ({"expression_range": 2.0}, {"pose_range": 0.5}, {"guidance": 2.0}, {"seed": 1}):
        other = portrait(steps=1, **options)
        moved = other.face(other.hear(torch.from_numpy(talk(1.0)), 0))
        assert (moved.pose - got[:, :5]).abs().max() > 1e-5, options


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Saved networks, a picture and where the person is in it."""
    folder, made = tmp_path_factory.mktemp("runs"), networks(body=True)
    made.template.save_pretrained(folder / "head")
    found = statistics()
    found["head"]["network"] = sha256 = file_hash(folder / "head" / "model.safetensors")
    made.face.set_statistics(found)
    for network in (made.renderer, made.refiner):
        network.set_template(sha256)
    for name in ("face", "renderer", "refiner"):
        getattr(made, name).save_pretrained(folder / name)
    made.body.set_statistics(body_statistics(file_hash(folder / "renderer" / "model.safetensors")))
    made.body.save_pretrained(folder / "body")
    noise = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    Image.fromarray(noise).save(folder / "me.png")
    person = pose()
    person[:, 0] = (person[:, 0] * 64 + 8) / 80
    np.savez(folder / "me.npz", keypoints=person[None, :, :2], scores=person[None, :, 2])
    soundfile.write(folder / "speech.wav", talk(1.0), RATE)
    return {
        "run": str(folder / "face"), "template": str(folder / "head"), "renderer": str(folder / "renderer"),
        "refine": str(folder / "refiner"), "image": str(folder / "me.png"), "pose": str(folder / "me.npz"),
        "audio": str(folder / "speech.wav"), "device": "cpu",
    }  # fmt: skip


def test_layers_of_a_recogniser_are_refused(runs, tmp_path):
    face = FaceMotion(**{**FACE_SIZES, "audio": "layers", "layer_channels": 8})
    found = statistics()
    found["head"]["network"] = file_hash(Path(runs["template"]) / "model.safetensors")
    face.set_statistics(found)
    face.save_pretrained(tmp_path)
    options = {name: value for name, value in runs.items() if name not in ("run", "audio")}
    with pytest.raises(ConfigError, match="which are made of whole clips"):
        Stream.from_pretrained(str(tmp_path), **options)


def words(runs: dict[str, str], **changes: Any) -> list[str]:
    return [f"{name}={value}" for name, value in {**runs, **changes}.items() if value is not None]


def test_the_command_makes_a_video(runs, tmp_path, capsys):
    assert status(streaming.main, words(runs, output=tmp_path / "a.mp4")) == 0
    assert "25 frames, at most" in capsys.readouterr().out
    frames = list(read_frames(tmp_path / "a.mp4"))
    assert [each.shape for each in frames] == [(SIZE, SIZE, 3)] * 25
    assert len(read_audio(tmp_path / "a.mp4")) == pytest.approx(RATE, abs=2048)
    about = read_metadata(tmp_path / "a.mp4")
    assert about["ai_generated"]
    assert set(about["inputs_sha256"]) == {"image", "pose", "audio"}
    assert about["model"]["stage"] == "chatanyone.face_motion"
    whole = {**runs, "run": runs["run"].replace("face", "body"), "face": runs["run"]}
    assert status(streaming.main, words(whole, output=tmp_path / "b.mp4")) == 0
    other = np.stack(list(read_frames(tmp_path / "b.mp4"))).astype(int)
    assert np.abs(other - np.stack(frames).astype(int)).max() > 8  # the body moves


def test_the_object_of_a_run(runs):
    options = {name: value for name, value in runs.items() if name not in ("run", "audio", "device")}
    with Stream.from_pretrained(runs["run"], device="cpu", **options) as made:
        frames = made.push(talk(1.0), RATE) + made.finish()
    assert len(frames) == 25
    assert made.counts.frames == 25
    with pytest.raises(ConfigError, match=r"did you mean 'image'|unknown key"):
        Stream.from_pretrained(runs["run"], device="cpu", **{**options, "imagee": "x"})


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no run": ({"run": "nowhere"}, "nowhere"),
    "another stage": ({"run": "RENDERER"}, "a stream can use: chatanyone.face_motion"),
    "no picture": ({"image": "nowhere.png"}, "no such file"),
    "no sound": ({"audio": "nowhere.wav"}, "no such file"),
    "no renderer": ({"renderer": None}, "give renderer=RUN"),
    "no face": ({"run": "BODY"}, "give face=RUN"),
    "another renderer": ({"renderer": "FACE"}, "one of chatanyone.renderer is needed"),
    "no template": ({"template": None}, "give template=FOLDER"),
    "too many steps": ({"steps": 51}, "50 diffusion steps"),
    "another ending": ({"output": "a.avi"}, "ends in .mp4"),
    "a device": ({"device": "abacus"}, "no such device"),
    "a number": ({"late": -1}, "late"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused_is_said_in_a_line(name, runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes, said = WRONG[name]
    changes = {key: runs[str(value).lower()] if value == "RENDERER" else value for key, value in changes.items()}
    named = {"FACE": runs["run"], "BODY": runs["run"].replace("face", "body")}
    changes = {key: named.get(str(value), value) for key, value in changes.items()}
    assert status(streaming.main, words(runs, **({"output": "a.mp4"} | changes))) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "a.mp4").exists()


def test_a_picture_without_a_head(runs, tmp_path, capsys):
    person = pose()
    person[:, 2] = 0
    person[:40, 2] = 1
    np.savez(tmp_path / "nobody.npz", keypoints=person[None, :, :2], scores=person[None, :, 2])
    assert status(streaming.main, words(runs, output=tmp_path / "a.mp4", pose=tmp_path / "nobody.npz")) == 2
    assert "none of its 1 poses shows a person" in capsys.readouterr().err


class Given:
    """A source that brings what it is told; `stop` ends it."""

    def __init__(self, pieces: list[tuple[np.ndarray, int]], wait: float = 0.0):
        self.given, self.wait, self.stopped = pieces, wait, threading.Event()
        self.lost, self.stalls, self.silence = 0.0, 0, 0.0

    def pieces(self) -> Any:
        for samples, rate in self.given:
            if self.stopped.wait(self.wait):
                return
            yield samples, rate, time.monotonic()

    def stop(self) -> None:
        self.stopped.set()


def test_a_signal_ends_the_sound_and_what_was_heard_is_shown():
    frames: list[Frame] = []
    source = Given([(talk(0.2), RATE)] * 1000, wait=0.02)
    made = Stream(simple(), out=frames.append)
    closed = threading.Event()
    threading.Timer(0.3, signal.raise_signal, [signal.SIGTERM]).start()
    before = signal.getsignal(signal.SIGTERM)
    with streaming._until_told(source.stop):
        streaming._run(made, source, closed.set, None)
    assert signal.getsignal(signal.SIGTERM) == before
    assert closed.is_set()
    assert 5 <= len(frames) < 1000
    assert len(frames) % 5 == 0  # all that was heard, up to its last fifth of a second


def test_an_output_that_fails_ends_all_and_is_said(runs, tmp_path, capsys, monkeypatch):
    from trainers.streaming import outputs

    def full(self: Any, frame: Frame) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "a.mp4"))

    monkeypatch.setattr(outputs.VideoOutput, "write", full)
    assert status(streaming.main, words(runs, output=tmp_path / "a.mp4")) == 2
    assert "the disk is full" in capsys.readouterr().err


def test_seconds_end_it_and_late_frames_are_told(runs, tmp_path, caplog, logged, capsys, monkeypatch):
    made = Portrait.render
    monkeypatch.setattr(Portrait, "render", lambda *given: time.sleep(0.6) or made(*given))
    soundfile.write(tmp_path / "long.wav", talk(3.0), RATE)
    given = words(runs, audio=tmp_path / "long.wav", output=tmp_path / "a.mp4", live="true", late=0, seconds=2.0)
    assert status(streaming.main, given) == 0
    assert len(list(read_frames(tmp_path / "a.mp4"))) == 50
    assert "of them held" in capsys.readouterr().out
    assert any("came too late" in record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)


def test_a_dash_is_standard_input(runs, tmp_path, capsys, monkeypatch):
    import os

    read, write = os.pipe()
    sound = (talk(1.0) * 32767).astype("<i2").tobytes()
    threading.Thread(target=lambda: (os.write(write, sound), os.close(write)), daemon=True).start()
    monkeypatch.setattr("sys.stdin", os.fdopen(read))
    assert status(streaming.main, words(runs, audio="-", output=tmp_path / "a.mp4", late=30, silence_after=30)) == 0
    assert len(list(read_frames(tmp_path / "a.mp4"))) == 25
