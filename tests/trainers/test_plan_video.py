"""Plans of MMGT's video diffusion: 12 frames of 512 x 512, in 24, 40 and 80 GB."""

import pytest

from trainers.plan import TrainingPlan, plan, training_config
from trainers.planning.inventory import inventory
from trainers.planning.measure import build_stage

KINDS = ("video_pose", "video_audio")


def planned(kind: str, gpu: str, *words: str) -> TrainingPlan:
    return plan(training_config(f"configs/mmgt/{kind}/paper.yaml", words), gpus=1, gpu=gpu)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_frozen_has_neither_gradient_nor_state(kind):
    stage = build_stage(training_config(f"configs/mmgt/{kind}/tiny.yaml", ())["stage"])
    found = inventory(stage)
    trained = sum(p.numel() for p in stage.network.parameters() if p.requires_grad)
    assert found.count == trained
    everything = sum(t.nbytes for t in [*stage.parameters(), *stage.buffers()])
    assert found.fixed == everything - 4 * trained > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("gpu", ["rtx4090", "a100-40", "a100-80"])
@pytest.mark.parametrize("kind", KINDS)
def test_twelve_frames_of_512_pixels_fit_or_it_is_said_how(kind, gpu, once_a_config):
    found = planned(kind, gpu)
    assert "meta device" in found.measured
    assert round(found.parameters / 1e6, 1) == {"video_pose": 1718.3, "video_audio": 570.8}[kind]
    if found.fits:
        assert gpu != "rtx4090" or kind == "video_audio"
        return
    fitting = [change["words"] for change in found.changes if change["total"] <= found.limit]
    assert fitting, found.said
    # What it says of the first change is what a plan with it says.
    again = planned(kind, gpu, *fitting[0].split())
    assert again.fits
    assert again.total == pytest.approx(next(c["total"] for c in found.changes if c["words"] == fitting[0]))


@pytest.mark.slow
def test_checkpointing_is_what_makes_it_fit(once_a_config):
    words = ("stage.network.image_channels=0", "data.video_size=[256,256]")
    without = planned("video_audio", "a100-80", "gradient_checkpointing=false", *words)
    assert planned("video_audio", "a100-80", *words).memory["activations"] < 0.5 * without.memory["activations"]
