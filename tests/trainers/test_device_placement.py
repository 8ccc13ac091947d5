"""Every stage makes its tensors where its weights are: seen without a GPU, since the meta device takes no other's."""

from typing import Any

import pytest
import torch

from cospeech import shipped
from trainers.plan import training_config
from trainers.planning.autocast import as_on_gpu
from trainers.planning.measure import _alone, build_stage
from trainers.planning.samples import sample_batch
from trainers.stage.base import Stage

PLACES = (
    "mmgt/smga", "human/pose_autoencoder", "implicit_motion/base", "implicit_motion/motion", "versa/tokenizer",
    "versa/text_motion", "versa/audio_motion", "versa/evaluator", "video/autoencoder", "chatanyone/renderer",
    "chatanyone/face_refine", "chatanyone/face_motion", "chatanyone/body_motion",
)  # fmt: skip


def made(place: str) -> tuple[Stage, Any]:
    """A stage of its `tiny` config and a batch, both on the meta device."""
    config = training_config(str(shipped.folder("configs") / place / "tiny.yaml"), ["data.batch_size=2"])
    few = {name: 2 for name in ("sampling_steps", "steps") if name in config["stage"]}
    stage = build_stage({**config["stage"], **few}, "meta")
    _alone(stage, 2, "meta")
    return stage, sample_batch(stage.needs, config["data"], config["stage"], 2, "meta")


@pytest.mark.parametrize("place", PLACES)
def test_training_validation_and_samples_stay_on_the_device(place: str) -> None:
    stage, batch = made(place)
    with as_on_gpu(None):
        loss = stage.training_step(batch, 0)
        if stage.automatic_optimization:
            loss.backward()
        stage.eval()
        assert stage.validation_step(batch, 0).device.type == "meta"
        for value in stage.sample(batch).values():
            assert value.device.type == "meta"
    grads = [p.grad for p in stage.parameters() if p.grad is not None]
    assert grads
    assert all(grad.device.type == "meta" for grad in grads)


def test_a_tensor_made_on_the_cpu_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, batch = made("mmgt/smga")
    draw = stage.generator(batch)
    monkeypatch.setattr(draw, "normal", lambda *shape: torch.randn(2, *shape, device="cpu"))
    stage.generator = lambda batch: draw
    with pytest.raises(RuntimeError, match="device"), as_on_gpu(None):
        stage.training_step(batch, 0)
