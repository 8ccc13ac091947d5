"""Implicit motion's motion stage: its configs, what a step does, cached features and frames, and a whole short run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.batch import Batch
from datamodules.shards.index import Index
from models.implicit_motion import ImplicitMotion
from models.implicit_motion.generate import generate
from models.implicit_motion.motion import MotionDiffusion
from preprocessing.features import run as features
from settings import ConfigError, build
from settings.command import command
from settings.hashes import file_hash
from tests.models.filled import filled
from tests.models.motion_networks import statistics
from tests.models.test_implicit_motion_base import SMALL as BASE
from tests.nested import nested
from tests.nested import words as words_of
from tests.shards import write_shards
from trainers.fit import fit
from trainers.implicit_motion.motion import MotionStage
from trainers.stages import STAGES
from trainers.tracking.metrics_csv import read_metrics

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


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A base network that was saved."""
    folder = tmp_path_factory.mktemp("base") / "export"
    torch.manual_seed(0)
    ImplicitMotion(**BASE).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory, base) -> tuple[Path, Path]:
    """Clips with video, and the same with the base network's features."""
    folder = tmp_path_factory.mktemp("shards")
    keys = ("video.mp4", "speech.npz", "audio.flac")
    write_shards(folder / "video", clips=6, seconds=2.0, keys=keys, splits=("train", "train", "val"))
    options = {"input": str(folder / "video"), "output": str(folder / "cached"), "network": str(base), "workers": 0}
    features.make_features(features.Options(**options, device="cpu", progress=False))
    return folder / "video", folder / "cached"


def options(folder: Path, shards: Path, *words: str) -> dict[str, Any]:
    small = words_of(MotionStage, **SMALL)
    run = [
        f"data.shards={shards}", f"run={folder}", f"data.window={T}", "data.batch_size=2", "data.workers=0",
        "trainer.accelerator=cpu", "trainer.max_steps=4", "trainer.log_every_n_steps=1", "trainer.val_check_interval=2",
        "trainer.enable_progress_bar=false", "checkpoint.every_n_steps=2", "samples.count=0",
    ]  # fmt: skip
    return command(fit, ["--config", str(CONFIGS / "tiny.yaml"), *small, *run, *words], prog="fit")


def one_batch(where: Path, base: Path, source: str) -> tuple[MotionStage, Batch]:
    """The stage and the first validation batch, whose windows start with their clips."""
    from datamodules.reader import ClipDataModule

    output = MotionStage(**nested(MotionStage, **SMALL), base=str(base), features=source)
    size = None if source == "cached" else (32, 32)
    data = ClipDataModule(output.needs, shards=str(where), window=T, batch_size=2, workers=0, video_size=size)
    output.use_statistics(data.statistics)
    return output, next(iter(data.val_dataloader()))


def test_cached_features_are_those_that_frames_give(shards, base):
    video, cached = (one_batch(where, base, kind) for where, kind in zip(shards, ("video", "cached"), strict=True))
    frame = torch.zeros(2, dtype=torch.long)
    assert video[1].ids == cached[1].ids
    assert video[1].starts.tolist() == [0, T]
    motion, appearance = video[0]._features(video[1], frame)
    kept, kept_appearance = cached[0]._features(cached[1], frame)
    torch.testing.assert_close(motion, kept)  # frames stand in batches of another size
    torch.testing.assert_close(appearance[0], kept_appearance[0])  # of the clip's first frame, in another batch
    assert motion.std() > 0


def test_features_of_another_base_are_refused(shards, tmp_path):
    torch.manual_seed(1)
    ImplicitMotion(**BASE).save_pretrained(tmp_path / "export")
    with pytest.raises(ConfigError, match=r"stage\.base is .* preprocessing\.features"):
        build(options(tmp_path / "run", shards[1], f"stage.base={tmp_path / 'export'}"), fit)
    assert not (tmp_path / "run").exists()


def test_frames_of_another_size_are_named(shards, base):
    output, some = one_batch(shards[0], base, "video")
    some.video = some.video[..., :16]
    with pytest.raises(ConfigError, match=r"data\.video_size=\[32,32\]"):
        output.training_step(some, 0)


def test_a_base_that_is_no_base_is_refused(tmp_path):
    MotionDiffusion(width=8, layers=1, heads=2).save_pretrained(tmp_path / "export")
    with pytest.raises(ConfigError, match=r"implicit_motion\.base"):
        MotionStage(**nested(MotionStage, **SMALL), base=str(tmp_path / "export"))


def test_the_base_is_frozen_and_stays_in_evaluation_mode(shards, base):
    output, some = one_batch(shards[0], base, "video")
    output.log = lambda *args, **kwargs: None
    output.train()
    assert output.network.training
    assert not any(module.training for module in output.base.modules())
    output.training_step(some, 0).backward()
    assert all(p.grad is None and not p.requires_grad for p in output.base.parameters())


@pytest.fixture(scope="module")
def cached_run(tmp_path_factory, shards) -> Path:
    return build(options(tmp_path_factory.mktemp("cached") / "run", shards[1], "trainer.max_steps=40"), fit)


def test_a_whole_short_run_learns_and_its_export_generates(cached_run, shards):
    rows = read_metrics(cached_run / "metrics.csv")
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    assert {"train/loss_simple", "train/loss_velocity", "val/loss"} <= {name for row in rows for name in row}
    network = MotionDiffusion.from_pretrained(cached_run / "export")
    index = Index.load(shards[1]).statistics
    assert network.space.base_sha256 == index["implicit"]["network"]
    torch.testing.assert_close(network.space.offset_std, torch.tensor(index["implicit_motion"]["std"]))
    assert generate(network, torch.randn(768), torch.randn(16), torch.randn(40, 35)).shape == (40, 768)


@pytest.fixture(scope="module")
def video_run(tmp_path_factory, shards, base) -> Path:
    words = ("stage.features=video", f"stage.base={base}", "data.video_size=[32,32]", "samples.count=1")
    return build(options(tmp_path_factory.mktemp("video") / "run", shards[0], *words), fit)


def test_features_made_of_frames_are_measured_once_and_stay_out_of_checkpoints(video_run, shards, base):
    network = MotionDiffusion.from_pretrained(video_run / "export")
    assert network.space.base_sha256 == file_hash(base / "model.safetensors")
    measured, index = network.space, Index.load(shards[1]).statistics
    mean, std = (torch.tensor(index["implicit"][name]) for name in ("mean", "std"))
    assert ((measured.motion_mean - mean).abs() < 0.6 * std).all(), "of windows, that hold other frames more often"
    for name, whole in (("motion_std", std), ("offset_std", torch.tensor(index["implicit_motion"]["std"]))):
        ratio = getattr(measured, name) / whole
        assert 0.7 < ratio.median() < 1.1, name
    newest = sorted((video_run / "checkpoints").glob("*.ckpt"))[-1]
    names = torch.load(newest, weights_only=True)["state_dict"]
    assert "network.space.offset_std" in names
    assert not any(name.startswith("base.") for name in names)
    assert list((video_run / "samples").glob("*.mp4"))


def test_a_resumed_run_keeps_what_was_measured(video_run, shards, base, tmp_path, monkeypatch):
    monkeypatch.setattr("trainers.implicit_motion.motion.measure", lambda *_: pytest.fail("measured again"))
    words = ("stage.features=video", f"stage.base={base}", "data.video_size=[32,32]", "trainer.max_steps=6")
    run = build(options(tmp_path / "run", shards[0], *words, f"resume={video_run}"), fit)
    before, after = (MotionDiffusion.from_pretrained(folder / "export").space for folder in (video_run, run))
    assert torch.equal(before.offset_std, after.offset_std)
