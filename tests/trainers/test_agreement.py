"""Keys that have to agree are compared before the run folder is made, and named with both values."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.reader import ClipDataModule
from datamodules.shards.index import Index
from models.implicit_motion import ImplicitMotion
from models.versa.tokenizer import MotionTokenizer
from preprocessing.features import run as features
from settings import ConfigError, build
from settings.command import command
from tests.models.test_implicit_motion_base import SMALL as BASE
from tests.shards import write_shards
from trainers.fit import fit
from trainers.stage.agreement import Expected, agree
from trainers.versa.frozen import same_tokenizer

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMGA = (
    "stage.network.width=16",
    "stage.network.layers=1",
    "stage.network.heads=2",
    "stage.network.feedforward=16",
    "stage.network.window=20",
    "data.window=20",
)
MOTION = (
    "stage.network.width=16",
    "stage.network.layers=1",
    "stage.network.heads=2",
    "stage.network.window=20",
    "data.window=20",
)
AUDIO = ("stage.network.width=16", "stage.network.layers=1", "stage.network.heads=2", "stage.network.text_branch=false")


@pytest.fixture(scope="module")
def talks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("talks")
    write_shards(folder, clips=2, seconds=2, layers=6)
    return folder


@pytest.fixture(scope="module")
def filmed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("filmed")
    write_shards(folder, clips=2, seconds=2, keys=("video.mp4", "speech.npz", "audio.flac"), video_size=(48, 64))
    return folder


@pytest.fixture(scope="module")
def featured(filmed, tmp_path_factory) -> Path:
    """Shards with features of a base network whose F_A has 16 numbers."""
    folder = tmp_path_factory.mktemp("featured")
    torch.manual_seed(0)
    sizes: dict[str, Any] = dict(BASE)
    ImplicitMotion(**sizes).save_pretrained(folder / "export")
    options: dict[str, Any] = {"input": str(filmed), "output": str(folder / "shards"), "workers": 0, "progress": False}
    features.make_features(features.Options(**options, network=str(folder)))
    return folder / "shards"


def start(config: str, shards: Path, folder: Path, *words: str) -> None:
    """What the training command does, until it begins to train."""
    own = [f"data.shards={shards}", f"run={folder}", "data.workers=0"]
    build(command(fit, ["--config", str(CONFIGS / config), *own, *words], prog="fit"), fit)


@pytest.mark.parametrize(
    ("config", "words", "said"),
    [
        (
            "mmgt/smga/tiny.yaml",
            (*SMGA, "stage.network.fps=30"),
            r"stage\.network\.fps is 30, .* 25 frames a second: set stage\.network\.fps=25",
        ),
        ("mmgt/smga/tiny.yaml", (*SMGA, "data.window=10"), r"stage\.network\.window is 20, .* gives 10 frames"),
        ("mmgt/smga/tiny.yaml", (*SMGA, "data.window_seconds=1"), r"stage\.network\.window is 20, .* gives 25 frames"),
        ("mmgt/smga/tiny.yaml", (*SMGA, "data.windows=clip"), r"stage\.network\.window is 20, .* gives clip frames"),
        (
            "mmgt/smga/tiny.yaml",
            (*SMGA, "stage.network.audio_channels=43"),
            r"stage\.network\.audio_channels is 43, .* have 6 of",
        ),
        (
            "human/pose_autoencoder/tiny.yaml",
            ("stage.network.window=24",),
            r"stage\.network\.window is 24, .* gives 80 frames",
        ),
        ("implicit_motion/base/tiny.yaml", (), r"reads video\.mp4, but none of the clips"),
        ("versa/tokenizer/tiny.yaml", (), r"reads motion\.npz, .* preprocessing\.motion"),
        ("versa/evaluator/tiny.yaml", (), r"reads motion\.npz, .* preprocessing\.motion"),
        ("versa/text_motion/tiny.yaml", (), r"reads motion\.npz, .* preprocessing\.motion"),
    ],
)
def test_a_run_that_does_not_agree_with_its_shards_is_refused(talks, tmp_path, config, words, said):
    with pytest.raises(ConfigError, match=said):
        start(config, talks, tmp_path / "run", *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stage.network.fps=24",), r"stage\.network\.fps is 24, .* 25 frames a second"),
        (("data.window=40",), r"stage\.network\.window is 20, .* gives 40 frames"),
        (
            ("stage.network.appearance_channels=512",),
            r"appearance_channels is 512, .* have 16 .*set stage\.network\.appearance_channels=16",
        ),
    ],
)
def test_motion_is_compared_with_its_features(featured, tmp_path, words, said):
    with pytest.raises(ConfigError, match=said):
        start("implicit_motion/motion/tiny.yaml", featured, tmp_path / "run", *MOTION, *words)
    assert not (tmp_path / "run").exists()


def test_motion_is_compared_with_the_base_that_it_calls(featured, filmed, tmp_path):
    words: tuple[str, ...] = ("stage.features=video", f"stage.base={featured.parent / 'export'}")
    with pytest.raises(ConfigError, match=r"appearance_channels is 128, but the network of stage\.base makes 16"):
        start("implicit_motion/motion/tiny.yaml", filmed, tmp_path / "run", *MOTION, *words)
    words = (*MOTION, *words, "stage.network.appearance_channels=16")
    with pytest.raises(ConfigError, match=r"stage\.base reads 32 x 32 pixels, .* as \[48,64\]"):
        start("implicit_motion/motion/tiny.yaml", filmed, tmp_path / "run", *words)


def test_pictures_have_the_size_of_the_network(filmed, tmp_path):
    with pytest.raises(
        ConfigError, match=r"stage\.network\.image_size is 64, .* as \[32,32\]: set data\.video_size=\[64,64\]"
    ):
        start("implicit_motion/base/tiny.yaml", filmed, tmp_path / "run", "data.video_size=[32,32]")
    assert not (tmp_path / "run").exists()


def test_speech_features_are_those_that_the_audio_branch_reads(tmp_path):
    write_shards(tmp_path / "shards", clips=2, keys=("motion.npz", "speech.npz", "audio.flac"), layers=6)
    words = (*AUDIO, "stage.network.audio=layers", "stage.network.speech_channels=8")
    with pytest.raises(
        ConfigError, match=r"stage\.network\.speech_channels is 8 .* have 6 .*set stage\.network\.speech_channels=6"
    ):
        start("versa/audio_motion/tiny.yaml", tmp_path / "shards", tmp_path / "run", *words)


def test_a_text_branch_knows_the_tokens_of_its_own_tokenizer(tmp_path):
    sizes = {"codes": 8, "code_width": 8, "width": 8, "depth": 1}
    for name in ("one", "other"):
        MotionTokenizer(**sizes).save_pretrained(tmp_path / name / "export")
        (tmp_path / name / "config.yaml").write_text("stage: {name: versa.tokenizer}")
    text = tmp_path / "text"
    MotionTokenizer(**sizes).save_pretrained(text / "export")  # of which the hash alone is read
    (text / "config.yaml").write_text(f"stage: {{name: versa.text_motion, tokenizer: {tmp_path / 'one'}}}")
    same_tokenizer(str(tmp_path / "one"), str(text))
    with pytest.raises(ConfigError, match=r"trained on the tokens of .*one"):
        same_tokenizer(str(tmp_path / "other"), str(text))


def test_what_data_do_not_tell_is_not_asked():
    class Toy:
        needs = ()

        def expects(self) -> list[Expected]:
            return [Expected("fps", 25.0, "a", "b {}", "c {}")]

    agree(Toy(), {})
    agree(Toy(), {"fps": 25.00001})
    with pytest.raises(ConfigError, match="a, but b 30: c 30"):
        agree(Toy(), {"fps": 30.0})


def test_facts_come_from_the_first_clip_that_can_be_read(tmp_path):
    def damage(clip: int, members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        return [(key, data[:10] if clip == 0 and key == "speech.npz" else data) for key, data in members]

    write_shards(tmp_path, clips=2, layers=4, change=damage)
    facts = ClipDataModule(("speech.npz",), shards=str(tmp_path)).facts()
    assert facts["fps"] == Index.load(tmp_path).fps
    assert (facts["window"], facts["layer_channels"], facts["speech_channels"]) == (80, 4, 35)
