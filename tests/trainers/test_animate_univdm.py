"""A picture and speech to a video with UniVDM: lengths, first frames, shapes, refusals."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from PIL import Image

from datamodules.media.files import MediaError, read_audio, read_frames, read_metadata
from models.paha.univdm import UniVDM
from settings import ConfigError
from settings.hashes import file_hash
from tests.autoencoders import FACTOR, save_autoencoder
from tests.encoded import ROUNDING
from tests.models.filled import filled
from trainers.animate import animate
from trainers.paha.animation import UniVDMAnimator
from trainers.run.exports import find_export

FPS, SECONDS, FRAMES = 30.0, 0.5, 15
HEIGHT, WIDTH = 54, 34


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("world")
    vae = save_autoencoder(folder / "vae")
    torch.manual_seed(0)
    network = UniVDM(
        channels=(8, 16), layers=1, head_channels=4, cross_channels=8, norm_groups=4, motion_heads=2, motion_frames=8,
        downscaling=FACTOR, image_channels=0, audio_layers=1, audio_channels=35, audio_tokens=4, audio_width=16,
        window=6, fps=FPS, sampling_steps=2, autoencoder=file_hash(vae / "diffusion_pytorch_model.safetensors"),
    )  # fmt: skip
    filled(network, std=0.3).save_pretrained(folder / "run" / "export")
    settings = {"stage": {"name": "paha.univdm", "autoencoder": str(vae)}, "data": {"video_size": [HEIGHT, HEIGHT]}}
    (folder / "run" / "config.yaml").write_text(yaml.safe_dump(settings))
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(folder / "me.png")
    times = np.arange(round(SECONDS * 16_000)) / 16_000
    soundfile.write(folder / "speech.wav", 0.4 * np.sin(2 * np.pi * 150 * times) * np.sin(8 * times), 16_000)
    return {"run": folder / "run", "image": folder / "me.png", "audio": folder / "speech.wav"}


def make(world, out: Path, **options):
    return animate(run=str(world["run"]), out=out, **{"image": world["image"], "audio": world["audio"], **options})


def pixels(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(path))).astype(int)


@pytest.mark.paper("PH-2")
def test_the_video_lasts_as_long_as_the_speech_keeps_the_shape_and_says_what_made_it(world, tmp_path):
    output = make(world, tmp_path / "out.mp4")
    assert (output.frames, output.fps) == (FRAMES, FPS)
    assert pixels(output.video).shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert len(read_audio(output.video)) == pytest.approx(SECONDS * 16_000, abs=1300)
    said = read_metadata(output.video)
    assert said["model"]["stage"] == "paha.univdm"
    assert set(said["inputs_sha256"]) == {"image", "audio"}
    assert said["settings"]["steps"] == 2


@pytest.mark.paper("PH-2")
def test_it_begins_with_the_picture_unless_told_otherwise(world, encoded, tmp_path):
    animator = UniVDMAnimator(find_export(world["run"]), device="cpu")
    latents = animator.latents(None)
    picture = np.asarray(Image.open(world["image"]))
    pixels_of = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    own = latents.decode(latents.of_pictures(pixels_of), picture.shape[:2])
    expected = (own[0].permute(1, 2, 0) * 255).detach().numpy()
    first = encoded[make(world, tmp_path / "a.mp4").video][0]
    other = encoded[make(world, tmp_path / "b.mp4", first_frame="any").video][0]
    assert np.abs(first - expected).max() <= ROUNDING
    assert np.abs(other - expected).max() > ROUNDING


def test_the_same_seed_is_the_same_video_and_another_is_another(world, encoded, tmp_path):
    first, second, third = (
        make(world, tmp_path / f"{name}.mp4", seed=seed, first_frame="any").video
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first.read_bytes() == second.read_bytes()
    assert np.abs(encoded[first] - encoded[third]).max() > ROUNDING


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": None}, "give image=PICTURE of the person and audio=FILE"),
        ({"audio": None}, "give image=PICTURE of the person and audio=FILE"),
        ({"audio": Path("nowhere.wav")}, "nowhere.wav"),
        ({"autoencoder": "nowhere"}, "nowhere"),
    ],
)
def test_what_is_missing_is_refused_in_words(world, tmp_path, options, said):
    with pytest.raises((ConfigError, MediaError), match=said):
        make(world, tmp_path / "out.mp4", **options)
