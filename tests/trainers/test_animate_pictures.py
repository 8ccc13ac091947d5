"""A picture to a video of it: with speech, with a driving video, and what is done with unusual input."""

import tracemalloc
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import soundfile
import torch
import yaml
from PIL import Image

from datamodules.media.files import MediaError, read_frames, read_metadata, write_video
from models.implicit_motion import ImplicitMotion
from models.implicit_motion.generate import generate
from models.implicit_motion.motion import MotionDiffusion
from settings import ConfigError
from settings.hashes import file_hash
from tests.encoded import ROUNDING, before_encoding
from tests.models.motion_networks import small
from tests.models.test_implicit_motion_base import SMALL
from tests.trainers.commands import status
from tests.trainers.sounds import write_voice
from tests.trainers.test_animate import media
from trainers.animate import animate, main
from trainers.animation.request import listen
from trainers.animation.square import find_square

FRAMES = 50


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A run folder with a small untrained base network whose features move."""
    folder = tmp_path_factory.mktemp("runs") / "base"
    torch.manual_seed(0)
    network = ImplicitMotion(**SMALL)
    torch.nn.init.normal_(network.motion_decoder.deviate.weight, std=0.05)
    network.save_pretrained(folder / "export")
    (folder / "config.yaml").write_text(yaml.safe_dump({"stage": {"name": "implicit_motion.base"}}))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, base) -> Path:
    """A run folder with a small untrained diffusion for that base network."""
    folder = tmp_path_factory.mktemp("runs") / "motion"
    network = small(motion_channels=768, appearance_channels=16)
    network.space.set_base(file_hash(base / "export" / "model.safetensors"))
    network.save_pretrained(folder / "export")
    stage = {"name": "implicit_motion.motion", "base": str(base)}
    (folder / "config.yaml").write_text(yaml.safe_dump({"stage": stage}))
    return folder


def drawing(side: int = 96, height: int | None = None) -> np.ndarray:
    """A picture (H, W, 3) uint8 with a coarse pattern, another in each corner."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (side, height or side), interpolation=cv2.INTER_LINEAR)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "me.png"
    Image.fromarray(drawing()).save(path)
    return path


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    return write_voice(tmp_path_factory.mktemp("speech") / "speech.wav")


@pytest.fixture(scope="module")
def driving(tmp_path_factory) -> Path:
    """A driving video of 1 s at 30 frames a second that is not square, with sound."""
    frames = (np.roll(drawing(96, 64), 2 * i, 1) for i in range(30))
    sound = 0.3 * np.sin(np.arange(16_000) * 0.1).astype(np.float32)
    return write_video(tmp_path_factory.mktemp("driving") / "driving.mp4", frames, 30, sound)


def pixels(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(path))).astype(int)


@pytest.fixture(scope="module")
def made(run, picture, speech, kept, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "out.mp4"
    with before_encoding(kept):
        return animate(run=str(run), image=picture, audio=speech, out=out, crop="centre", size=64)


def test_speech_moves_the_picture_and_is_heard(made, run, base, speech, picture, encoded):
    assert pixels(made.video).shape == (FRAMES, 64, 64, 3)
    assert (made.frames, made.fps) == (FRAMES, 25)
    assert np.ptp(encoded[made.video], axis=0).max() > ROUNDING
    with av.open(str(made.video)) as container:
        seconds = sum(frame.samples for frame in container.decode(container.streams.audio[0])) / 44_100
    assert seconds == pytest.approx(2.0, abs=0.1)
    said = read_metadata(made.video)
    assert said["ai_generated"] is True
    assert said["model"]["stage"] == "implicit_motion.motion"
    assert said["inputs_sha256"] == {"image": file_hash(picture), "audio": file_hash(speech)}
    assert said["settings"]["guidance"] == 1.5


@pytest.fixture
def shown(monkeypatch) -> list[np.ndarray]:
    """Frames as they go to the encoder."""
    seen: list[np.ndarray] = []

    def keep(path, frames, *args, **options):
        seen.extend(frames)
        return path

    monkeypatch.setattr("trainers.animation.frames.write_video", keep)
    return seen


def cut_picture() -> torch.Tensor:
    small_one = cv2.resize(drawing(), (32, 32), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small_one).permute(2, 0, 1)[None] / 255


def test_frames_are_the_base_networks_of_the_generated_motion(run, base, picture, speech, shown, tmp_path):
    animate(run=str(run), image=picture, audio=speech, out=tmp_path / "out.mp4", crop="centre", seed=3)
    network = ImplicitMotion.from_pretrained(base / "export").eval()
    diffusion = MotionDiffusion.from_pretrained(run / "export").eval()
    with torch.no_grad():
        source = network.encode_source(cut_picture())
        heard = torch.from_numpy(listen(speech))[None]
        motion = generate(diffusion, source.motion, source.appearance, heard, seed=3)
        expected = network.render(source, motion)[0].permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(np.stack(shown) - expected).max() < 1


def test_the_same_seed_gives_the_same_file(made, run, picture, speech, tmp_path):
    """To the byte: the same processor, threads and batches, so the same sums in the same order."""
    words = [f"run={run}", f"image={picture}", f"audio={speech}", "crop=centre", "size=64"]
    assert main([*words, f"out={tmp_path / 'again.mp4'}"]) == 0
    assert (tmp_path / "again.mp4").read_bytes() == made.video.read_bytes()


def to_encoder(
    shown: list[np.ndarray], run: Path, picture: Path, speech: Path, out: Path, **options: Any
) -> np.ndarray:
    """Frames (T, 32, 32, 3) before they are encoded: an encoder makes much of a difference of one."""
    shown.clear()
    animate(run=str(run), image=picture, audio=speech, out=out, crop="centre", **options)
    return np.stack(shown).astype(int)


def test_batches_do_not_matter_and_seeds_do(run, picture, speech, shown, tmp_path):
    given = (shown, run, picture, speech, tmp_path / "out.mp4")
    plain, small = to_encoder(*given), to_encoder(*given, batch=3)
    # Sums in another order differ in the seventh digit, of 255: next to nothing, but a number may round the other way.
    assert np.abs(small - plain).max() <= ROUNDING
    assert (small != plain).mean() < 1e-2
    assert np.abs(to_encoder(*given, seed=1) - plain).max() > ROUNDING


@pytest.mark.paper("IM-9")
def test_beta_and_half_precision_are_dials(run, picture, speech, shown, tmp_path):
    given = (shown, run, picture, speech, tmp_path / "out.mp4")
    plain = to_encoder(*given)
    assert np.abs(to_encoder(*given, beta=1.0) - plain).max() > ROUNDING
    # bfloat16 keeps eight bits, so each of some ten layers adds an error of 2^-9; 2^-9 * sqrt(10) of 255 is 1.6.
    assert 0 < np.abs(to_encoder(*given, half=True) - plain).mean() < 6


def test_a_driving_video_moves_the_picture_with_its_own_sound(
    base, picture, driving, encoded, tmp_path, slow_clock, capsys
):
    options: dict[str, Any] = {"run": str(base), "image": picture, "video": driving, "crop": "centre"}
    output = animate(**options, out=tmp_path / "out.mp4")
    assert "making and writing frames  10/25  ETA " in capsys.readouterr().err
    frames = encoded[output.video]
    assert pixels(output.video).shape == frames.shape == (25, 32, 32, 3)  # 30 frames a second become 25
    assert np.ptp(frames, axis=0).max() > ROUNDING
    with av.open(str(output.video)) as container:
        assert sum(f.samples for f in container.decode(container.streams.audio[0])) == pytest.approx(16_000, abs=2048)
    whole = animate(**options, out=tmp_path / "whole.mp4", fps=30.0)
    assert whole.frames == 30
    relative = animate(**options, out=tmp_path / "relative.mp4", relative=True)
    assert np.abs(encoded[relative.video] - frames).max() > ROUNDING


def test_relative_motion_begins_at_the_pictures_own_pose(base, picture, driving, shown, tmp_path):
    options: dict[str, Any] = {"run": str(base), "image": picture, "video": driving, "crop": "centre"}
    animate(**options, out=tmp_path / "out.mp4", relative=True, batch=7)
    network = ImplicitMotion.from_pretrained(base / "export").eval()
    with torch.no_grad():
        source = network.encode_source(cut_picture())
        still = network.render(source, source.motion[:, None])[0, 0].permute(1, 2, 0).numpy() * 255
    assert np.abs(shown[0] - still).max() < 1
    assert np.abs(shown[10] - still).max() > ROUNDING
    first = list(shown)
    shown.clear()
    animate(**options, out=tmp_path / "out.mp4")
    assert np.abs(shown[0] - still).max() > ROUNDING
    assert len(shown) == len(first) == 25


def test_memory_does_not_grow_with_the_length(run, picture, tmp_path):
    peaks = []
    for seconds in (4, 24):
        audio = tmp_path / f"{seconds}.wav"
        soundfile.write(audio, np.random.default_rng(0).uniform(-0.3, 0.3, seconds * 16_000), 16_000)
        tracemalloc.start()
        animate(run=str(run), image=picture, audio=audio, out=tmp_path / "out.mp4", crop="centre", steps=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    frame = 32 * 32 * 3
    heard = 20 * 16_000 * 4 * 3  # the speech itself, and copies while it is read
    assert peaks[1] - peaks[0] < heard + 10 * frame


@pytest.mark.parametrize("kind", ["transparent", "rotated", "grey", "palette", "huge", "jpeg named png"])
def test_unusual_pictures_are_shown_as_a_viewer_shows_them(kind, base, driving, shown, tmp_path):
    plain, path = drawing(), tmp_path / "picture.png"
    expected = plain
    if kind == "transparent":
        alpha = np.zeros((96, 96), np.uint8)
        alpha[:, 48:] = 255
        Image.fromarray(np.dstack([plain, alpha])).save(path)
        expected = np.where(alpha[..., None] > 0, plain, 255).astype(np.uint8)
    elif kind == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees clockwise
        path = tmp_path / "picture.jpg"
        Image.fromarray(np.rot90(plain).copy()).save(path, exif=exif, quality=98)
    elif kind == "grey":
        Image.fromarray(plain).convert("L").save(path)
        expected = np.asarray(Image.fromarray(plain).convert("L").convert("RGB"))
    elif kind == "palette":
        Image.fromarray(plain).convert("P", colors=255).save(path)
    elif kind == "huge":
        Image.fromarray(cv2.resize(plain, (6000, 6000))).save(path, compress_level=1)
    else:
        Image.fromarray(plain).save(path, format="JPEG", quality=98)
    usual = tmp_path / "usual.png"
    Image.fromarray(expected).save(usual)
    options: dict[str, Any] = {"run": str(base), "video": driving, "crop": "centre"}

    def frames(image: Path) -> np.ndarray:
        shown.clear()
        animate(**options, image=image, out=tmp_path / "out.mp4")
        return np.stack(shown).astype(int)

    one = frames(path)
    # Nothing but what JPEG and 255 colours lose: a few of 255 in the picture, and no more in what is made of it.
    assert np.abs(one - frames(usual)).mean() < 6
    plainly = tmp_path / "plain.png"
    Image.fromarray(plain).save(plainly)
    if kind in ("transparent", "grey"):
        assert np.abs(one - frames(plainly)).mean() > 0.5


def refused(folder: Path, base: Path, driving: Path) -> dict[str, tuple[dict[str, Any], str]]:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    files = {"silent": np.zeros(32_000), "one": noise[:1], "nan": np.full(16_000, np.nan)}
    for name, samples in files.items():
        soundfile.write(folder / f"{name}.wav", samples, 16_000, subtype="FLOAT")
    Image.fromarray(drawing(96, 64)).save(folder / "wide.png")
    (folder / "text.png").write_text("this is no picture")
    return {
        "no speech": ({"audio": None}, "audio="),
        "no picture": ({"image": None}, "image="),
        "silent speech": ({"audio": folder / "silent.wav"}, "silent"),
        "one sample": ({"audio": folder / "one.wav"}, "too short"),
        "no numbers": ({"audio": folder / "nan.wav"}, "no numbers"),
        "nobody in the picture": ({"crop": "person"}, "no person"),
        "not a picture": ({"image": folder / "text.png"}, "not a picture"),
        "not square": ({"image": folder / "wide.png", "crop": "none"}, "has to be square"),
        "a driving video for a diffusion": ({"video": driving}, "means nothing to a network of implicit_motion.motion"),
        "speech for a base network": ({"run": base}, "give video=FILE"),
        "another base": ({"base": str(folder)}, "neither a run folder nor an export"),
        "no frames at once": ({"batch": 0}, "'batch' Input should be greater than or equal to 1"),
    }


@pytest.mark.parametrize("name", [
    "no speech", "no picture", "silent speech", "one sample", "no numbers", "nobody in the picture", "not a picture",
    "not square", "a driving video for a diffusion", "speech for a base network", "another base", "no frames at once",
])  # fmt: skip
def test_what_cannot_be_used_is_said_in_a_line(name, run, base, picture, speech, driving, tmp_path, capsys):
    changes, word = refused(tmp_path, base, driving)[name]
    values = {"run": run, "image": picture, "audio": speech, "out": tmp_path / "out.mp4", "crop": "centre"} | changes
    assert status(main, [f"{key}={value}" for key, value in values.items() if value is not None]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert "Traceback" not in said
    assert not (tmp_path / "out.mp4").exists()


def test_another_base_network_than_it_was_trained_on_is_refused(run, picture, speech, tmp_path):
    torch.manual_seed(1)
    ImplicitMotion(**SMALL).save_pretrained(tmp_path / "other" / "export")
    (tmp_path / "other" / "config.yaml").write_text("stage: {name: implicit_motion.base}")
    options: dict[str, Any] = {"run": str(run), "image": picture, "audio": speech, "crop": "centre"}
    with pytest.raises(ConfigError, match="another network than the one"):
        animate(**options, base=str(tmp_path / "other"), out=tmp_path / "out.mp4")


def test_several_people_are_refused(run, picture, speech, tmp_path, monkeypatch):
    monkeypatch.setattr("preprocessing.pose.people.FaceCounter.__call__", lambda self, image: 2)
    with pytest.raises(MediaError, match=r"2 people found .* crop=centre"):
        animate(run=str(run), image=picture, audio=speech, out=tmp_path / "out.mp4")


def test_the_square_is_placed_around_the_face():
    pose = np.full((134, 3), -1.0, np.float32)
    pose[:, 2] = 0
    pose[24:92] = (0.2, 0.1, 1.0)
    wide, high = np.zeros((100, 300, 3), np.uint8), np.zeros((300, 100, 3), np.uint8)
    assert find_square(wide, "person", "me", pose) == (10, 0, 100)  # face at x = 60
    assert find_square(high, "person", "me", pose) == (0, 0, 100)  # face at y = 30, near the upper edge
    pose[24:92, 1] = 0.5
    assert find_square(high, "person", "me", pose) == (0, 115, 100)  # face at 35 of 100
    assert find_square(wide, "centre", "me") == (100, 0, 100)


def test_real_portraits_are_cut_around_the_person(run, speech, tmp_path):
    from datamodules.media.picture import read_image

    images = media() / "images"
    for name in ("echomimicv2_flux_woman_0588.png", "liveportrait_s12.jpg"):
        whole = read_image(images / name)
        square = find_square(whole, "person", name)
        assert square.side == min(whole.shape[:2])
    output = animate(
        run=str(run), image=images / "echomimicv2_flux_woman_0588.png", audio=speech, out=tmp_path / "o.mp4"
    )
    assert output.frames == FRAMES
    with pytest.raises(MediaError, match="no person"):
        animate(run=str(run), image=images / "negative_liveportrait_s41.jpg", audio=speech, out=tmp_path / "o.mp4")
