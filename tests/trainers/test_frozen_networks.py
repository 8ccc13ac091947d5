"""What a stage uses and does not train is in none of its checkpoints, whichever stage it is."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pretrained.frozen import frozen_of
from settings import ConfigError
from settings.command import command
from tests.autoencoders import save_autoencoder
from tests.heads import template
from tests.text_models import saved_clip
from tests.vgg_files import narrow_vgg, torchvision_state
from trainers.fit import fit
from trainers.run.resuming import check_resume
from trainers.stage.base import Stage
from trainers.stages import STAGES

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
EVERY = sorted(".".join(path.relative_to(CONFIGS).parts[:-1]) for path in CONFIGS.glob("*/*/tiny.yaml"))
USED: dict[str, tuple[str, ...]] = {
    "chatanyone.renderer": ("perceptual=vgg19", "vgg_weights={vgg.pth}", "template={chatanyone.head}"),
    "chatanyone.face_refine": ("perceptual=vgg19", "vgg_weights={vgg.pth}", "renderer={chatanyone.renderer}"),
    "mmgt.video_pose": ("autoencoder={vae}",),
    "mmgt.video_audio": ("autoencoder={vae}", "base={mmgt.video_pose}"),
    "paha.univdm": ("autoencoder={vae}",),
    "paha.pce_face": ("univdm={paha.univdm}",),
    "paha.pce_nonface": ("univdm={paha.univdm}",),
    "implicit_motion.base": ("reconstruction=vgg19", "vgg_weights={vgg.pth}"),
    "implicit_motion.motion": ("features=video", "base={implicit_motion.base}"),
    "versa.evaluator": ("network.text=clip", "network.clip_model={clip}", "network.text_channels=8"),
    "versa.text_motion": (
        "tokenizer={versa.tokenizer}", "network.text=clip", "network.clip_model={clip}", "network.text_channels=8",
    ),
    "versa.audio_motion": ("tokenizer={versa.tokenizer}", "text_motion={versa.text_motion}"),
    "versa.pose_video": ("autoencoder={vae}",),
    "versa.audio_video": ("autoencoder={vae}", "base={versa.pose_video}"),
}  # fmt: skip
"""Options that let a stage use other networks: those of earlier stages by their names, and those of others."""
FROZEN: dict[str, set[str]] = {
    "chatanyone.renderer": {"vgg_weights", "template"},
    "chatanyone.face_refine": {"vgg_weights", "renderer"},
    "mmgt.video_pose": {"autoencoder"},
    "mmgt.video_audio": {"autoencoder", "base"},
    "paha.univdm": {"autoencoder"},
    "paha.pce_face": set(),
    "paha.pce_nonface": set(),
    "implicit_motion.base": {"vgg_weights"},
    "implicit_motion.motion": {"base"},
    "versa.evaluator": {"network.clip_model"},
    "versa.text_motion": {"tokenizer", "network.clip_model"},
    "versa.audio_motion": {"tokenizer", "text_motion"},
    "versa.pose_video": {"autoencoder"},
    "versa.audio_video": {"autoencoder", "identity"},
}
"""What each of them says that it does not train."""
OUTSIDE = {"network.clip_model", "identity"}
"""What stands outside of the stage's own modules."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Networks that stages use: those of earlier stages, as their own tiny stages make them, and those of others."""
    folder = tmp_path_factory.mktemp("saved")
    saved_clip(folder / "clip")
    save_autoencoder(folder / "vae")
    torch.save(torchvision_state(), folder / "vgg.pth")
    template().save_pretrained(folder / "chatanyone.head")
    for name in ("implicit_motion.base", "chatanyone.renderer", "versa.tokenizer", "versa.text_motion"):
        network: Any = built(name).network
        network.save_pretrained(folder / name)
    for name in ("mmgt.video_pose", "paha.univdm", "versa.pose_video"):
        save_run(folder, name)
    with pytest.MonkeyPatch.context() as patch:
        narrow_vgg(patch)
        yield folder


def save_run(folder: Path, name: str) -> None:
    """The network of a stage's tiny config, on the autoencoder that was saved, as a run of it leaves it."""
    network: Any = built(name, f"autoencoder={folder / 'vae'}").network
    network.save_pretrained(folder / name / "export")
    (folder / name / "config.yaml").write_text(f"stage: {{name: {name}}}")


def built(name: str, *options: str, seed: int = 0) -> Stage:
    config = CONFIGS / Path(*name.split(".")) / "tiny.yaml"
    words = ["--config", str(config), "data.shards=/nowhere", *(f"stage.{option}" for option in options)]
    torch.manual_seed(seed)
    return STAGES.build(command(fit, words, prog="fit")["stage"])


@cache  # a stage is built once: what the tests change of it is what they look at
def with_used(name: str, saved: Path) -> Stage:
    options = [re.sub(r"{(.+)}", rf"{saved}/\1", option) for option in USED.get(name, ())]
    return built(name, *options, seed=1)


def checkpoint_of(stage: Stage) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {"state_dict": dict(stage.state_dict())}
    stage.on_save_checkpoint(checkpoint)
    return checkpoint


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in [*module.named_parameters(), *module.named_buffers()]}


def test_every_stage_is_tried() -> None:
    assert set(USED) == set(FROZEN) <= set(EVERY)
    assert {name for name in STAGES.names() if "." in name} <= set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_frozen_weights_are_in_no_checkpoint(name: str, saved: Path) -> None:
    stage = with_used(name, saved)
    checkpoint = checkpoint_of(stage)
    trained = {name for name, p in stage.named_parameters() if p.requires_grad}
    frozen = {name for name, p in stage.named_parameters() if not p.requires_grad}
    inside = tuple(f"{held}." for held in frozen_of(stage))
    assert trained <= set(checkpoint["state_dict"])
    assert not frozen & set(checkpoint["state_dict"])
    assert not [key for key in checkpoint["state_dict"] if key.startswith(inside)]
    assert set(checkpoint["frozen"]) == FROZEN.get(name, set())
    assert bool(frozen) == bool(FROZEN.get(name, set()) - OUTSIDE)
    assert all(len(sha256) == 64 for sha256 in checkpoint["frozen"].values())
    assert frozen_of(stage.network) == {}, "an export holds all that it needs"


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_a_checkpoint_with_them_inside_still_loads(name: str, saved: Path) -> None:
    """Checkpoints of earlier versions held buffers, and before that all of the weights."""
    stage = with_used(name, saved)
    held, kept = frozen_of(stage), state(stage)
    checkpoint = checkpoint_of(stage)
    del checkpoint["frozen"]  # they did not say which they were, either
    for place, frozen in held.items():
        old = {f"{place}.{name}": torch.full_like(value, 3) for name, value in state(frozen).items()}
        assert len(old) >= 5
        checkpoint["state_dict"] |= old
    trained = next(name for name, p in stage.named_parameters() if p.requires_grad)
    checkpoint["state_dict"][trained] = torch.full_like(kept[trained], 2)
    used = check_resume(Path("step-1.ckpt"), checkpoint, {"stage": {}}, {"stage": {}}, stage, None)
    assert used == []
    stage.on_load_checkpoint(checkpoint)
    stage.load_state_dict(checkpoint["state_dict"], strict=True)
    now = state(stage)
    assert now.pop(trained).unique().tolist() == [2]
    assert all(torch.equal(value, kept[name]) for name, value in now.items())


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_training_leaves_them_as_they_are(name: str, saved: Path) -> None:
    stage = with_used(name, saved).train()
    for held in frozen_of(stage).values():
        assert not any(module.training for module in held.modules())
    taken = {id(p) for each in optimizers(stage) for group in each.param_groups for p in group["params"]}
    assert taken
    assert not taken & {id(p) for p in stage.parameters() if not p.requires_grad}


def optimizers(stage: Stage) -> list[Any]:
    stage._trainer = SimpleNamespace(estimated_stepping_batches=10, max_steps=10)  # type: ignore[assignment]
    output = stage.configure_optimizers()
    return output[0] if isinstance(output, tuple) else [output["optimizer"]]


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_a_run_goes_on_beside_the_same_networks_only(name: str, saved: Path) -> None:
    stage = with_used(name, saved)
    checkpoint, path = checkpoint_of(stage), Path("step-00000008.ckpt")
    assert check_resume(path, checkpoint, None, {}, stage, None) == []
    for frozen in FROZEN[name]:
        now = checkpoint["frozen"][frozen]
        other = {**checkpoint, "frozen": {**checkpoint["frozen"], frozen: "cd" * 32}}
        with pytest.raises(ConfigError) as raised:
            check_resume(path, other, None, {}, stage, None)
        said = f"stage.{frozen} had the hash {'cd' * 8}, now it has {now[:16]}. Give the one that it was trained with"
        assert said in str(raised.value)
        assert "\n" not in str(raised.value)
