"""Implicit motion's motion stage: its configs, what a step does, cached features and frames, and a whole short run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.batch import Batch
from settings import ConfigError
from settings.command import command
from tests.models.filled import filled
from tests.models.motion_networks import statistics
from tests.nested import nested
from trainers.fit import fit
from trainers.implicit_motion.motion import MotionStage
from trainers.stages import STAGES

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "implicit_motion" / "motion"
SMALL: dict[str, Any] = {
    "width": 32, "layers": 1, "heads": 2, "feedforward": 32, "dropout": 0.0, "appearance_channels": 16,
    "audio_width": 8, "audio_layers": 1, "audio_filters": 8, "audio_steps": 2, "window": 16, "sampling_steps": 3,
}  # fmt: skip
B, T = 6, 16

if "implicit_motion.motion" not in STAGES.names():
    STAGES.add("implicit_motion.motion", MotionStage)


def values(name: str, *words: str) -> dict[str, Any]:
    return command(fit, ["--config", str(CONFIGS / name), "data.shards=/nowhere", *words], prog="fit")


def stage(**options: Any) -> MotionStage:
    torch.manual_seed(0)
    output = MotionStage(**nested(MotionStage, **{**SMALL, **options}))
    output.use_statistics(statistics(768))
    filled(output.network)  # head and FiLMs start at zero, which would hide what comes before them
    output.log = lambda *args, **kwargs: None
    return output


def batch(size: int = B) -> Batch:
    g = torch.Generator().manual_seed(0)
    return Batch(
        ids=[f"clip{i}@0" for i in range(size)],
        starts=torch.zeros(size, dtype=torch.long),
        fps=25.0,
        speech=torch.randn(size, T, 35, generator=g),
        audio=0.1 * torch.randn(size, T * 640, generator=g),
        arrays={
            "implicit": {
                "motion": torch.randn(size, T, 768, generator=g),
                "appearance": torch.randn(size, 16, generator=g),
            }
        },
        whole={
            "speech": torch.randn(size, 2 * T, 35, generator=g),
            "audio": 0.1 * torch.randn(size, 2 * T * 640, generator=g),
            "frames": torch.full((size, 1), 2 * T),
        },
    )


class Spy:
    """Remembers what the network was asked and what it said."""

    def __init__(self, made: MotionStage):
        self.asked: list[dict[str, Tensor]] = []
        self.said: list[Any] = []
        made.network.register_forward_hook(self._see, with_kwargs=True)

    def _see(self, module: Any, args: tuple, kwargs: dict, output: Any) -> None:
        names = ("noisy", "timesteps", "source", "appearance", "speech", "before")
        self.asked.append(dict(zip(names, args, strict=True)) | kwargs)
        self.said.append(output)


@pytest.mark.paper("IM-12")
@pytest.mark.paper("IM-13")
@pytest.mark.paper("IM-14")
def test_paper_config_hears_the_waveform_and_is_told_of_all_conditions():
    paper = values("paper.yaml")["stage"]
    network = paper["network"]
    assert network["audio"] == "raw"
    assert network["global_speech"] == "clip"
    assert network["use_global"]
    assert network["use_local"]
    assert network["use_appearance"]
    assert (paper["self_condition"], network["train_steps"], network["sampling_steps"]) == (0.5, 1000, 50)
    with torch.device("meta"):
        network = MotionStage(**{name: value for name, value in paper.items() if name != "name"}).network
    count = sum(p.numel() for p in network.parameters())
    print(f"{count:,} parameters")
    assert 20e6 < count < 60e6


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_every_config_builds_its_stage_and_takes_a_step(name):
    config = values(name)
    options = {key: value for key, value in config["stage"].items() if key != "name"}
    output = MotionStage(**{**options, "network": {**options["network"], "width": 32, "layers": 1, "audio_width": 8}})
    assert output.network.window == config["data"]["window"]
    output.log = lambda *args, **kwargs: None
    some = batch(2)
    frames = output.network.window
    some.audio, some.speech = torch.randn(2, frames * 640), torch.randn(2, frames, 35)
    some.arrays["implicit"] = {
        "motion": torch.randn(2, frames, 768), "appearance": torch.randn(2, options["network"]["appearance_channels"])
    }  # fmt: skip
    assert torch.isfinite(output.training_step(some, 0))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"heads": 5}, "heads"), ({"drop_speech": 2.0}, "drop_speech"), ({"continued": -1.0}, "continued"),
        ({"self_condition": 1.5}, "self_condition"), ({"window": 5}, "window"), ({"features": "video"}, "stage.base"),
        ({"base": "/nowhere/at/all"}, "stage.base"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_a_config_error(options, word):
    with pytest.raises(ConfigError, match=word):
        MotionStage(**nested(MotionStage, **{**SMALL, **options}))


def test_needs_are_no_more_than_what_is_read():
    assert stage(global_speech="window").needs == ("implicit.npz", "audio.flac")
    assert stage(use_global=False).needs == ("implicit.npz", "audio.flac")
    assert stage().needs == ("implicit.npz", "audio.flac", "whole/audio.flac")
    assert stage(audio="handcrafted").needs == ("implicit.npz", "speech.npz", "audio.flac", "whole/speech.npz")


@pytest.mark.paper("IM-13")
@pytest.mark.parametrize("audio", ["raw", "handcrafted"])
def test_a_step_hears_the_whole_clip_and_windows_of_one_clip_share_it(audio):
    output, some = stage(audio=audio), batch(4)
    some.ids = ["a@0", "b@0", "a@5", "b@9"]
    for part in ("speech", "audio"):
        some.whole[part] = some.whole[part][[0, 1, 0, 1]]
    spy = Spy(output)
    output.training_step(some, 0)
    spoken, heard = spy.asked[-1]["spoken"], spy.said[-1].heard.whole
    assert spoken.frames.tolist() == [2 * T] * 2
    assert spoken.rows.tolist() == [0, 1, 0, 1]
    torch.testing.assert_close(heard[0], heard[2])
    name = "audio" if audio == "raw" else "speech"
    some.whole[name] = some.whole[name].clone()
    some.whole[name][:, -some.whole[name].shape[1] // 4 :] *= 3  # behind all windows
    output.training_step(some, 0)
    assert not torch.allclose(spy.said[-1].heard.whole, heard)
    torch.testing.assert_close(spy.said[-1].heard.frames, spy.said[-2].heard.frames)


@pytest.mark.paper("IM-15")
@pytest.mark.parametrize("audio", ["raw", "handcrafted"])
def test_a_step_predicts_the_noise_at_random_steps(audio):
    # Probabilities away from one half, where the reverse would look the same.
    output, some = stage(audio=audio, drop_speech=0.1, self_condition=0.3), batch()
    spy = Spy(output)
    seen_steps, dropped, repeated = [], [], []
    for epoch in range(40):
        output.seed = epoch
        output.training_step(some, 0)
        asked = spy.asked[-1]
        seen_steps += asked["timesteps"].tolist()
        dropped += asked["drop_speech"].tolist()
        repeated += asked["self_condition"].tolist()
        x0 = output.network.space.encode(some.arrays["implicit"]["motion"], asked["source"])[:, 4:-2]
        alpha = output.network.noise.alphas_cumprod[asked["timesteps"]][:, None, None]
        noise = (asked["noisy"] - alpha.sqrt() * x0) / (1 - alpha).sqrt()
        noisy_enough = asked["timesteps"] > 50
        assert noise[noisy_enough].std().item() == pytest.approx(1, abs=0.1) or not noisy_enough.any()
        assert torch.equal(asked["appearance"], some.arrays["implicit"]["appearance"])
        assert torch.equal(asked["speech"], some.audio if audio == "raw" else some.speech)
    assert min(seen_steps) < 100
    assert 900 < max(seen_steps) < 1000
    assert 0.03 < sum(dropped) / len(dropped) < 0.2
    assert 0.2 < sum(repeated) / len(repeated) < 0.4


@pytest.mark.paper("IM-14")
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_some_windows_go_on_from_true_frames_and_the_others_from_zero(share):
    output, some = stage(continued=share), batch()
    spy = Spy(output)
    continued = []
    for seed in range(50):
        output.seed = seed
        output.training_step(some, 0)
        asked = spy.asked[-1]
        true = output.network.space.encode(some.arrays["implicit"]["motion"], asked["source"])[:, :4]
        for before, frames in zip(asked["before"], true, strict=True):
            assert torch.equal(before, frames) or not before.any()
            continued.append(bool(before.any()))
    assert sum(continued) / len(continued) == pytest.approx(share, abs=0.1)


def test_half_of_the_source_pictures_are_the_first_frame_and_the_others_any():
    output, some = stage(), batch()
    spy = Spy(output)
    frames = []
    for seed in range(60):
        output.seed = seed
        output.training_step(some, 0)
        for source, motion in zip(spy.asked[-1]["source"], some.arrays["implicit"]["motion"], strict=True):
            frames += (motion == source).all(-1).nonzero().flatten().tolist()
    assert len(frames) == 60 * B
    assert frames.count(0) / len(frames) == pytest.approx(0.5 + 0.5 / T, abs=0.1)
    assert set(frames) == set(range(T))


@pytest.mark.paper("IM-15")
@pytest.mark.paper("IM-16")
def test_the_loss_is_of_what_the_network_said():
    output, logged = stage(lambda_mse=2.0, lambda_velocity=3.0, lambda_acceleration=4.0, continued=0.0), {}
    output.log = lambda name, value, **_: logged.__setitem__(name, value.item())
    spy = Spy(output)
    loss = output.training_step(batch(), 0)
    asked, said = spy.asked[0], spy.said[0]
    x0 = output.network.space.encode(batch().arrays["implicit"]["motion"], asked["source"])[:, 4:-2]
    alpha = output.network.noise.alphas_cumprod[asked["timesteps"]][:, None, None]
    noise = (asked["noisy"] - alpha.sqrt() * x0) / (1 - alpha).sqrt()
    simple = ((said.noise - noise) ** 2).flatten(1).mean(1)
    error = said.x0 - x0
    parts = [(error.diff(n=order, dim=1) ** 2).mean() if order else (error**2).mean() for order in range(3)]
    clean = asked["timesteps"] > 20  # below, the noise cannot be told from x_t to enough digits
    assert clean.all()
    assert loss.item() == pytest.approx((simple.mean() + 2 * parts[0] + 3 * parts[1] + 4 * parts[2]).item(), rel=1e-3)
    assert logged["train/loss_velocity"] == pytest.approx(parts[1].item(), rel=1e-4)
    assert {name.partition("/")[2] for name in logged} == {
        "loss", "loss_simple", "loss_mse", "loss_velocity", "loss_acceleration"
    }  # fmt: skip


def test_a_step_is_a_function_of_seed_epoch_and_sample_ids():
    output = stage()
    one, repeated = output.training_step(batch(), 0), output.training_step(batch(), 1)
    assert torch.equal(one, repeated)
    output.seed = 5
    assert not torch.equal(one, output.training_step(batch(), 0))


def test_padding_behind_shorter_clips_does_not_count():
    losses = []
    for fill in (0.1, 0.9):
        output, short = stage(), batch()
        short.lengths = torch.tensor([T, 9, T, T, T, T])
        short.arrays["implicit"]["motion"][1, 9:] = fill
        x0 = torch.zeros(B, T - 6, 768)
        # What stands in the padding reaches the other frames through attention, so the network is left out here.
        output.network.forward = lambda *args, x0=x0, **kwargs: type("Said", (), {"noise": x0, "x0": x0})
        losses.append(output.training_step(short, 0))
    assert torch.equal(*losses)


@pytest.mark.paper("IM-13")
@pytest.mark.parametrize("switch", ["use_global", "use_local", "use_appearance"])
def test_ablations_train(switch):
    output = stage(**{switch: False})
    output.training_step(batch(), 0).backward()
    assert all(p.grad is not None for p in output.network.parameters())


@pytest.mark.paper("IM-13")
@pytest.mark.parametrize(
    ("switches", "change"),
    [
        (("use_global", "use_local"), lambda some: (some.audio.mul_(3), some.whole["audio"].mul_(3))),
        (("use_global",), lambda some: some.whole["audio"].mul_(3)),
        (("use_local",), lambda some: some.audio.mul_(3)),
        (("use_appearance",), lambda some: some.arrays["implicit"]["appearance"].add_(2)),
    ],
)
def test_what_is_switched_off_changes_nothing_and_what_is_on_does(switches, change):
    for on in (True, False):
        output, some = stage(**dict.fromkeys(switches, on)), batch()
        spy = Spy(output)
        for _ in range(2):
            output.training_step(some, 0)
            change(some)
        # What the network said, not the loss: a sum over all values rounds small changes away.
        assert torch.equal(spy.said[1].x0, spy.said[0].x0) != on


def test_shards_without_features_are_named():
    with pytest.raises(ConfigError, match=r"preprocessing\.features"):
        MotionStage(**nested(MotionStage, **SMALL)).use_statistics({"handcrafted": statistics()["handcrafted"]})
