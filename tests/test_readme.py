"""What the README shows can be run, and what it names is there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from cospeech.commands import COMMANDS
from models.mmgt.smga import SMGA

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_picture_and_a_sound_give_poses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pytest.importorskip("skimage.data")
    from skimage.io import imsave

    monkeypatch.chdir(tmp_path)
    imsave("me.png", data.astronaut())
    rng = np.random.default_rng(0)
    soundfile.write("speech.wav", 0.1 * rng.standard_normal(16_000).astype(np.float32), 16_000)
    network = SMGA(width=16, layers=1, heads=2, feedforward=32, audio_layers=1, window=20, sampling_steps=2)
    network.save_pretrained("runs/mine/export")
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(snippets) == 1
    assert len([line for line in snippets[0].splitlines() if line]) <= 5
    names: dict[str, Any] = {}
    exec(snippets[0], names)
    assert names["poses"].shape == (25, 134, 3)


def test_every_command_and_page_that_it_names_is_there() -> None:
    modules = {one.module for one in COMMANDS.values()}
    named = set(re.findall(r"python -m ([\w.]+)", README))
    assert named
    assert named <= modules
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
