"""What a stage says that it logs is what it logs; figures, precisions and steps that cannot be are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from settings import ConfigError
from tests.autoencoders import save_autoencoder
from tests.trainers.runs import toy_run
from tests.trainers.test_frozen_networks import save_run
from trainers.engines.strategies import check
from trainers.options import TrainerOptions
from trainers.plan import plan, training_config
from trainers.planning.measure import _Draws, build_stage
from trainers.planning.samples import sample_batch
from trainers.stage.base import check_monitor
from trainers.tracking.columns import readable

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TINY = sorted(CONFIGS.glob("*/*/tiny.yaml"))
BASES = {"video_audio": "video_pose", "audio_video": "pose_video"}
"""The first step of what a second one goes on from."""
SHORT = {
    "area", "body", "face", "hand", "high", "in", "loss", "low", "of", "rest", "root", "text", "the", "use", "with",
    "yaw",
}  # fmt: skip
"""Words of four letters or fewer that people read as such in the titles of plots."""
NO_WEIGHTS = ("stage.adversarial_weight=0", "stage.threshold_weight=0")


def logged(stage: Any, batch: Any, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every name under which a stage logs in a step of training and one of validation."""
    names: set[str] = set()
    monkeypatch.setattr(stage, "log", lambda name, *args, **options: names.add(name))
    monkeypatch.setattr(stage, "generator", lambda batch: _Draws(len(batch), "cpu"))
    monkeypatch.setattr(stage, "update", lambda part, loss: None)
    stage.training_step(batch, 0)
    stage.on_before_optimizer_step(None)
    stage.eval()
    with torch.no_grad():
        stage.validation_step(batch, 0)
        stage.on_validation_epoch_end()
    return names


@pytest.mark.parametrize(
    ("path", "words"),
    [
        *(pytest.param(path, (), id=path.parent.name) for path in TINY),
        pytest.param(CONFIGS / "implicit_motion/base/tiny.yaml", NO_WEIGHTS, id="base without weights"),
        pytest.param(CONFIGS / "mmgt/smga/tiny.yaml", ("stage.face_loss=off",), id="smga without a face"),
    ],
)
def test_what_is_named_is_logged_and_nothing_else(path, words, monkeypatch, tmp_path):
    if path.parent.name in (*BASES, *BASES.values(), "univdm"):
        save_autoencoder(tmp_path / "vae")
        words = (f"stage.autoencoder={tmp_path / 'vae'}", "data.video_size=[32,32]", "data.window=20")
        if (base := BASES.get(path.parent.name)) is not None:
            name = f"{path.parent.parent.name}.{base}"
            save_run(tmp_path, name)
            words += (f"stage.base={tmp_path / name}",)
    if path.parent.name.startswith("pce_"):
        save_autoencoder(tmp_path / "vae")
        save_run(tmp_path, "paha.univdm")
        words = (f"stage.univdm={tmp_path / 'paha.univdm'}", "data.video_size=[32,32]")
    values = training_config(str(path), words)
    stage = build_stage(values["stage"], "cpu")
    batch = sample_batch(stage.needs, values["data"], values["stage"], 2, "cpu")
    if "latents" in batch.arrays and hasattr(stage, "latents"):  # they are said to be of the stage's own autoencoder
        own = torch.tensor(list(bytes.fromhex(stage.latents.sha256)), dtype=torch.uint8)
        batch.arrays["latents"]["network"] = own.expand(len(batch), -1)
    found, named = logged(stage, batch, monkeypatch), set(stage.figures())
    assert found <= named
    # Those of a part of the noise levels are there where a validation has drawn one of it.
    assert all(name.startswith("val/accuracy_") for name in named - found), named - found
    titles = {word.strip(",").lower() for name in named for word in readable(name).split() if not word.isupper()}
    short = {word for word in titles if len(word) <= 4}
    assert short <= SHORT, "an abbreviation is written out, or as people write it, by trainers/tracking/columns.py"


def test_a_typo_is_answered_with_the_name_that_is_meant():
    stage = build_stage(training_config(str(CONFIGS / "versa/evaluator/tiny.yaml"), ())["stage"])
    check_monitor("val/right", stage)
    check_monitor(None, stage)
    with pytest.raises(ConfigError, match=r"=val/rigth: .*did you mean val/right\? there are val/right, val/loss"):
        check_monitor("val/rigth", stage)
    with pytest.raises(ConfigError, match=r"monitor=fgd: EvaluatorStage logs nothing of that name; there are"):
        check_monitor("fgd", stage)
    with pytest.raises(ConfigError, match=r"checkpoint\.monitor=val/fgd"):
        plan(training_config(str(CONFIGS / "mmgt/smga/tiny.yaml"), ("checkpoint.monitor=val/fgd",)), gpus=1)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_weights_of_sixteen_bits_are_refused_before_a_folder_is_made(tmp_path, precision):
    mixed = precision.replace("true", "mixed")
    with pytest.raises(ConfigError, match=rf"precision={precision}: .* use {mixed}"):
        check({"name": "auto"}, TrainerOptions(precision=precision, accelerator="gpu"), None, False)
    with pytest.raises(ConfigError, match=rf"trainer\.precision={precision}: "):
        toy_run(tmp_path / "run", trainer={"precision": precision})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["mmgt/smga", "implicit_motion/motion"])
def test_a_diffusion_takes_no_more_steps_than_it_is_trained_with(name):
    words = ("stage.network.train_steps=20", "stage.network.sampling_steps=21")
    stage = training_config(str(CONFIGS / name / "tiny.yaml"), words)["stage"]
    with pytest.raises(
        ConfigError, match=r"sampling_steps is 21, but stage\.network\.train_steps is 20: .* to 1 to 20"
    ):
        build_stage(stage, "cpu")
    build_stage(stage | {"network": stage["network"] | {"sampling_steps": 20}}, "cpu")
