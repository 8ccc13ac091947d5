"""VersaAnimator on layers of a pretrained speech network: from motion files and sound to figures and a video (VA-5)."""

import json
from pathlib import Path

import numpy as np
import pytest

from datamodules.clips import read_clips
from models.human.projection import project_joints
from preprocessing.motion.run import main as import_motion
from settings import ConfigError
from tests.models.test_token2pose import waving
from tests.models.test_versa_tokenizer import tokenizer
from tests.preprocessing.motion_files import write_smplx, write_wav
from tests.speech_models import saved_speech_model
from trainers.animate import main as animate
from trainers.animation.hearing import PretrainedHearing, mean_layer
from trainers.evaluate import main as evaluate
from trainers.fit import main as fit
from trainers.run.exports import find_export
from trainers.versa.evaluation.acting import Actor, load_acts

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "versa" / "audio_motion" / "tiny.yaml"
SMALL = (
    "stage.network.codes=32", "stage.network.width=16", "stage.network.layers=1", "stage.network.heads=2",
    "stage.network.feedforward=16",
    "stage.network.text_branch=false", "stage.network.audio=layers", "stage.network.speech_channels=16",
    "stage.network.window=12", "stage.network.steps=2",
    "trainer.max_steps=2", "trainer.val_check_interval=2", "checkpoint.every_n_steps=2", "samples.count=1",
    "trainer.enable_progress_bar=false", "trainer.accelerator=cpu", "data.batch_size=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Takes with sound as BEAT2 has them, their shards with two layers of a speech network, and a run that read one."""
    output = tmp_path_factory.mktemp("layers")
    saved_speech_model(output / "wav2vec", "Wav2Vec2")
    for number in range(4):
        write_smplx(output / "takes" / f"{number}.npz", 2.4, seed=number)
        write_wav(output / "takes" / f"{number}.wav", 2.4)
    speech = f"speech=[{{name: transformers, model: {output / 'wav2vec'}, layers: [1, 2]}}]"
    splits = "splits={train: 0.5, val: 0.5}"
    assert import_motion([f"input={output / 'takes'}", f"output={output / 'shards'}", speech, splits]) == 0
    tokenizer().save_pretrained(output / "tokenizer")
    words = [f"data.shards={output / 'shards'}", f"stage.tokenizer={output / 'tokenizer'}", f"run={output / 'run'}"]
    assert fit(["--config", str(CONFIG), *SMALL, *words, "data.speech_layers=[2]"]) == 0
    return output


def person(folder: Path) -> Path:
    """A pose file of somebody who stands there."""
    keypoints, scores = project_joints(waving(1))
    path = folder / "pose.npz"
    np.savez(path, keypoints=(keypoints * 0.3 + 0.5).numpy(), scores=scores.numpy())
    return path


def test_evaluate_reads_the_layers_that_training_read(folder, tmp_path, capsys):
    words = [f"run={folder / 'run'}", "splits=[val]", "seeds=[0]", f"out={tmp_path}"]
    assert evaluate(words) == 0
    assert "shuffled audio" in capsys.readouterr().out
    systems = json.loads((tmp_path / "figures.json").read_text())["splits"]["val"]["systems"]
    assert {"model", "shuffled_audio", "truth"} <= systems.keys()


def test_animate_makes_the_layers_from_a_sound_file(folder, tmp_path, capsys):
    words = [f"run={folder / 'run'}", f"audio={folder / 'takes' / '0.wav'}", f"out={tmp_path / 'out.mp4'}"]
    words.append(f"pose={person(tmp_path)}")
    assert animate(words) == 2
    assert "give speech=MODEL" in capsys.readouterr().err
    assert animate([*words, f"speech={folder / 'wav2vec'}"]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'out.mp4'}  2.4 s, 60 frames")
    saved_speech_model(tmp_path / "wide", "Wav2Vec2", hidden_size=24)
    assert animate([*words, f"speech={tmp_path / 'wide'}"]) == 2
    assert "gives 24 channels" in capsys.readouterr().err


def test_what_is_heard_is_the_mean_of_the_layers_that_training_read(folder):
    export = find_export(str(folder / "run"))
    (info, values), *_ = read_clips(folder / "shards", ("speech.npz", "audio.flac"))
    (act,) = load_acts(str(folder / "shards"), [info.id], ("motion.npz", "speech.npz"))
    heard = Actor(export, "cpu").hear(act)
    assert heard == pytest.approx(values["speech.npz"]["layers"][1].astype("float32"))
    output = PretrainedHearing(export, str(folder / "wav2vec"), 16)(values["audio.flac"])
    assert output == pytest.approx(heard, abs=2e-3)


def test_a_clip_without_the_layers_is_named():

    speech = {"handcrafted": np.zeros((4, 35)), "layers": np.zeros((1, 10, 3)), "layer_ids": np.array([7])}
    with pytest.raises(ConfigError, match=r"clip-1 holds layers \[7\] .* not \[2\]"):
        mean_layer(speech, [2], "clip-1")
    with pytest.raises(ConfigError, match="clip-1 holds no layers"):
        mean_layer({"handcrafted": np.zeros((4, 35))}, None, "clip-1")
