"""SMGA on hand-crafted and WavLM features together, from videos to a plan, figures and a pose video (MMGT-6)."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.clips import read_clips
from datamodules.shards.index import Index
from models.mmgt import SMGA
from preprocessing.run import main as preprocess
from preprocessing.synthetic.videos import generate as make_videos
from tests.speech_models import saved_speech_model
from trainers.animate import main as animate
from trainers.evaluate import main as evaluate
from trainers.fit import main as fit
from trainers.plan import main as plan

CONFIG = "configs/mmgt/smga/paper.yaml"
SMALL = [
    "stage.network.width=32", "stage.network.layers=1", "stage.network.heads=2", "stage.network.feedforward=32",
    "stage.network.audio_layers=1",
    "stage.network.window=16", "stage.network.sampling_steps=2", "data.window=16", "data.global_batch=4",
]  # fmt: skip
SHORT = [
    "data.workers=0", "trainer.max_steps=2", "trainer.max_epochs=null", "trainer.limit_val_batches=1",
    "trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "checkpoint.monitor=null", "samples.count=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WavLM of two layers and 16 channels, shards with its last layer beside the 35, and a run that read both."""
    folder = tmp_path_factory.mktemp("wavlm")
    saved_speech_model(folder / "wavlm", "WavLM")
    videos = make_videos(
        folder / "videos", speakers=1, clips_per_speaker=3, unseen_speakers=0, seconds=(2.0, 6.0), size=64
    )
    speech = f"speech=[handcrafted,{{name: transformers, model: {folder / 'wavlm'}, layers: [-1]}}]"
    words = [f"input={videos}", f"output={folder / 'shards'}", "pose=sidecar", "face=off", "quality=off", speech]
    assert preprocess([*words, "size=64", "workers=0", "progress=false"]) == 0
    words = [f"data.shards={folder / 'shards'}", f"run={folder / 'run'}", "stage.network.audio_channels=51"]
    assert fit(["--config", CONFIG, *SMALL, *SHORT, *words]) == 0
    return folder


@pytest.mark.paper("MMGT-6")
def test_shards_hold_both_kinds_and_the_network_hears_both(made):
    _, arrays = next(read_clips(made / "shards", ("speech.npz",)))
    speech = arrays["speech.npz"]
    assert speech["handcrafted"].shape[1] == 35
    assert speech["layers"].shape[::2] == (1, 16)
    assert speech["layer_ids"].tolist() == [2]
    network = SMGA.from_pretrained(made / "run" / "export")
    assert network.audio_encoder.in_features == 51
    assert network.audio_mean[:35].any()
    assert not network.audio_mean[35:].any(), "the model's features are taken as they are"


@pytest.mark.slow  # trains the network of the figures
@pytest.mark.paper("MMGT-6")
def test_figures_and_a_pose_video_are_made_of_both_kinds(made, capsys):
    report = made / "report"
    assert evaluate([f"run={made / 'run'}", "splits=[train]", "seeds=[0]", "clips=2", f"out={report}"]) == 0
    figures = json.loads((report / "figures.json").read_text())
    assert np.isfinite(figures["splits"]["train"]["systems"]["model"]["missed_points"]["mean"])
    keys = ("audio.flac", "pose.npz")
    _, arrays = next(read_clips(made / "shards", keys))
    soundfile.write(made / "speech.wav", arrays["audio.flac"], 16_000)
    np.savez(made / "pose.npz", **{name: array[:1] for name, array in arrays["pose.npz"].items()})
    words = [f"run={made / 'run'}", f"pose={made / 'pose.npz'}", f"audio={made / 'speech.wav'}", "size=64"]
    assert animate([*words, f"out={made / 'out.mp4'}"]) == 2
    assert "give speech=MODEL" in capsys.readouterr().err
    assert animate([*words, f"out={made / 'out.mp4'}", f"speech={made / 'wavlm'}"]) == 0
    assert (made / "out.mp4").stat().st_size > 0


@pytest.mark.paper("MMGT-6")
def test_shards_without_the_models_features_are_answered_with_what_to_do(made, tmp_path, capsys):
    words = [f"data.shards={made / 'shards'}", f"run={tmp_path / 'run'}", "stage.network.audio_channels=60"]
    assert fit(["--config", CONFIG, *SMALL, *SHORT, *words]) != 0
    said = capsys.readouterr().err
    assert "have 16 of such a model" in said
    assert "set stage.network.audio_channels to 35 more than that" in said
    assert "name: transformers" in said
    assert "handcrafted.yaml" in said


@pytest.mark.paper("MMGT-6")
def test_the_plan_counts_both_kinds(made, capsys):
    """As many weights as the run trained, from the config alone."""
    assert plan(
        ["--config", CONFIG, *SMALL, "data.global_batch=8", "stage.network.audio_channels=51", "json=true"]
    ) in (0, 2)
    said, wrong = capsys.readouterr()
    assert "config error" not in wrong
    count = sum(p.numel() for p in SMGA.from_pretrained(made / "run" / "export").parameters())
    assert str(count) in said or f"{count:,}" in said
    assert Index.load(made / "shards").shards
