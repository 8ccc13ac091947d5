"""What `animate` writes is counted: nobody waits for a minute without a word."""

import numpy as np
import pytest

from models.mmgt.smga import SMGA
from pretrained.exports import Export
from trainers.mmgt import animation as smga
from trainers.mmgt.animation import SMGAAnimator


@pytest.mark.parametrize("shown", [True, False])
def test_generating_poses_counts_every_frame(shown: bool, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    SMGA(width=16, layers=1, heads=2, feedforward=32, audio_layers=1, window=20, sampling_steps=1).save_pretrained(
        tmp_path
    )
    bars = []

    class Counted(smga.Progress):
        def __init__(self, *words, **options):
            super().__init__(*words, **options)
            bars.append(self)

    monkeypatch.setattr(smga, "Progress", Counted)
    animator = SMGAAnimator(Export(tmp_path, "mine", "mmgt.smga", ""), device="cpu")
    pose = np.random.default_rng(0).uniform(0.3, 0.7, (134, 3)).astype(np.float32)
    output = animator.poses([pose], [np.zeros((50, 35), np.float32)], shown=shown)
    assert output[0].shape == (50, 134, 3)
    assert [(bar.done, bar.total) for bar in bars] == ([(50, 50)] if shown else [])
