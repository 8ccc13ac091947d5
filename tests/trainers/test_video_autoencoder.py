"""The stage of the autoencoder: its configs, its loss, what it measures, from where it starts, whole short runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from datamodules.batch import Batch
from datamodules.clips import read_clips
from datamodules.media.video import read_window
from models.losses.pixels import divergence, edge_error, pixel_error
from models.video.regions import region_weights
from pretrained.autoencoders import load_autoencoder
from settings import ConfigError
from settings.command import command
from tests.autoencoders import save_autoencoder
from tests.nested import nested
from tests.nested import words as words_of
from tests.shards import write_shards
from tests.trainers.runs import rows
from trainers.evaluate import evaluate
from trainers.fit import fit, main
from trainers.stage.pictures import picked, psnr
from trainers.video.autoencoder import AutoencoderStage
from trainers.video.pictures import crops

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "video" / "autoencoder"
SMALL: dict[str, Any] = {
    "block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 2, "mid_block_add_attention": False,
}  # fmt: skip
S = 16


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COSPEECH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(
        folder, clips=4, seconds=0.8, keys=("video.mp4", "pose.npz"), splits=("train", "train", "val", "test"),
        video_size=(22, 32),
    )  # fmt: skip
    return folder


def stage(**options: Any) -> AutoencoderStage:
    torch.manual_seed(0)
    output = AutoencoderStage(**nested(AutoencoderStage, **{**SMALL, "reconstruction_weight": 0.0, **options}))
    output.logged = {}
    output.log = lambda name, value, **_: output.logged.__setitem__(name, float(value))
    return output


def batch(size: int = 2, frames: int = 6, side: int = S) -> Batch:
    g = torch.Generator().manual_seed(0)
    pose = torch.cat([torch.rand(size, frames, 134, 2, generator=g), torch.ones(size, frames, 134, 1)], -1)
    video = torch.randint(0, 256, (size, frames, 3, side, side), dtype=torch.uint8, generator=g)
    ids = [f"clip{i}@0" for i in range(size)]
    return Batch(ids=ids, starts=torch.zeros(size), fps=25.0, pose=pose, video=video)


def values(name: str, *words: str) -> dict[str, Any]:
    return command(fit, ["--config", str(CONFIGS / name), "data.shards=/nowhere", *words], prog="fit")


def test_paper_config_goes_on_from_the_published_one():
    paper = values("paper.yaml")["stage"]
    assert paper["base"] == "stabilityai/sd-vae-ft-mse"
    for more in ({}, {"base": None}):
        with torch.device("meta"):
            made = AutoencoderStage(**{name: value for name, value in {**paper, **more}.items() if name != "name"})
        assert sum(p.numel() for p in made.network.parameters()) == 83_653_863
        assert made.network.scaling_factor == 0.18215
        assert (made.network.downscaling, made.network.latent_channels) == (8, 4)


def test_tiny_config_builds_its_stage_and_takes_a_step():
    tiny = values("tiny.yaml")["stage"]
    made = AutoencoderStage(**{name: value for name, value in tiny.items() if name != "name"})
    made.log = lambda *args, **kwargs: None
    assert made.network.downscaling == 4
    loss = made.training_step(batch(side=64, frames=2), 0)
    assert torch.isfinite(loss)
    loss.backward()
    assert all(p.grad is not None for p in made.network.parameters())


def test_the_loss_is_the_sum_of_its_weighted_parts_over_drawn_latents():
    made, some = stage(frames=2, l1_weight=2.0, edge_weight=3.0, kl_weight=0.5, region_weight=4.0), batch()
    loss = made.training_step(some, 0)
    random = made.generator(some)
    chosen = (random.uniform(2) * 6).long()
    rows_of = torch.arange(2)[:, None]
    truth = some.video[rows_of, chosen].flatten(0, 1).float() / 255
    weight = region_weights(some.pose[rows_of, chosen].flatten(0, 1), S, S, 4.0)
    assert set(weight.unique().tolist()) == {1.0, 5.0, 9.0} or weight.max() == 9
    latents = made.network.vae.encode(truth * 2 - 1).latent_dist
    noise = made.generator(some).normal(2, 4, 8, 8).flatten(0, 1)
    frames = made.network.vae.decode(latents.mean + latents.std * noise).sample / 2 + 0.5
    error = (frames - truth).abs()
    l1 = ((error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)) / 3).mean()
    kl = 0.5 * (latents.mean**2 + latents.var - 1 - latents.logvar).mean()
    edges = edge_error(frames, truth, weight)
    torch.testing.assert_close(loss, 2 * l1 + 3 * edges + 0.5 * kl)
    assert made.logged == pytest.approx(
        {"train/loss": loss.item(), "train/l1": l1.item(), "train/edges": edges.item(), "train/kl": kl.item()}, rel=1e-5
    )
    assert {name for name in made.figures() if name.startswith("train")} == set(made.logged)


def test_edges_are_differences_of_neighbours_and_the_divergence_is_torchs():
    truth, frames = torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    error = (frames - truth)[0]
    wanted = np.abs(np.diff(error, axis=1)).mean() + np.abs(np.diff(error, axis=2)).mean()
    assert edge_error(frames, truth).item() == pytest.approx(wanted, rel=1e-5)
    assert pixel_error(frames, truth).item() == pytest.approx(error.abs().mean().item(), rel=1e-5)
    mean, log_variance = torch.randn(2, 2, 4, 3, 3)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    known = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(divergence(mean, log_variance), known)


def test_validation_is_the_same_every_time_and_measures_most_likely_latents():
    made, some = stage(frames=3, region_weight=1.0).eval(), batch()
    first, second = (made.validation_step(some, 0) for _ in range(2))
    assert torch.equal(first, second)
    assert set(made.logged) == {name for name in made.figures() if name.startswith("val")}
    chosen = picked(some, 3, None)
    assert chosen.tolist() == [[0, 2, 5]] * 2 or chosen.tolist() == [[0, 3, 5]] * 2
    truth = some.video[torch.arange(2)[:, None], chosen].flatten(0, 1).float() / 255
    rebuilt = made.network(truth).frames.clamp(0, 1)
    wanted = -10 * (rebuilt - truth).square().mean((1, 2, 3)).log10().mean()
    assert made.logged["val/psnr"] == pytest.approx(wanted.item(), rel=1e-5)
    shown = made.sample(some)["video"]
    assert shown.shape == some.video.shape
    torch.testing.assert_close(shown[:, 0], made.network(some.video[:, 0].float() / 255).frames.clamp(0, 1))


def test_psnr_inside_counts_what_is_inside():
    truth = torch.zeros(2, 3, 8, 8)
    frames, inside = truth.clone(), torch.zeros(2, 1, 8, 8)
    frames[:, :, :4], inside[0, :, :4] = 0.1, 1
    assert psnr(frames, truth, inside).item() == pytest.approx((20 + 20 + 10 * np.log10(2)) / 2, rel=1e-5)


def test_crops_are_parts_of_their_frames_and_of_their_weights():
    frames = torch.arange(2 * 3 * 10 * 12.0).view(2, 3, 10, 12)
    cut, weight = crops(frames, frames[:, :1], 8, torch.tensor([[0.0, 0.99], [0.99, 0.0]]))
    torch.testing.assert_close(cut, torch.stack([frames[0, :, :8, 4:], frames[1, :, 2:, :8]]))
    torch.testing.assert_close(weight, cut[:, :1])
    assert torch.equal(crops(frames, None, 64, torch.rand(2, 2))[0], frames)
    made = stage(crop=8, frames=2)
    seen: list[Tensor] = []
    made.network.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    made.training_step(batch(), 0)
    made.eval().validation_step(batch(), 0)
    assert [tuple(one.shape[-2:]) for one in seen] == [(8, 8), (S, S), (S, S)]


def test_the_latents_deviation_is_measured_over_batches():
    made = stage(frames=4)
    with torch.no_grad():
        made.network.vae.quant_conv.weight.mul_(7)
    some, drawn = batch(8), []
    for _ in range(2):
        made.training_step(some, 0)
        made.seed += 1
    truth = some.video.flatten(0, 1).float() / 255
    with torch.no_grad():
        posterior = made.network.vae.encode(truth * 2 - 1).latent_dist
    drawn = posterior.mean + posterior.std * torch.randn(posterior.mean.shape)
    assert made.network.scaling_factor == pytest.approx(1 / drawn.std().item(), rel=0.05)
    fixed = stage(scaling_factor=0.5)
    fixed.training_step(some, 0)
    assert fixed.network.scaling_factor == 0.5
    before = made.network.moments.clone()
    made.eval().validation_step(some, 0)
    assert torch.equal(made.network.moments, before)


def test_it_starts_from_a_published_one_and_saves_in_its_format(tmp_path):
    folder = save_autoencoder(tmp_path / "published", seed=3)
    made = AutoencoderStage(base=str(folder), network={"scaling_factor": 0.2})
    known, _ = load_autoencoder("network", str(folder))
    assert made.network.downscaling == 4
    assert all(torch.equal(value, known.state_dict()[name]) for name, value in made.network.vae.state_dict().items())
    assert all(p.requires_grad for p in made.network.parameters())
    assert made.network.training
    made.network.save_pretrained(tmp_path / "run" / "export")
    again, _ = load_autoencoder("network", str(tmp_path / "run"))
    assert again.config.scaling_factor == 0.2
    picture = torch.rand(1, 3, 8, 8)
    assert torch.equal(again.encode(picture).latent_dist.mean, known.encode(picture).latent_dist.mean)
    with pytest.raises(ConfigError, match=r"stage\.network\.latent_channels is 7, but that of stage\.base=.* is 4"):
        AutoencoderStage(base=str(folder), network={"latent_channels": 7})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base": "/nowhere"}, r"stage\.base=/nowhere: no such folder.*hf download stabilityai/sd-vae-ft-mse"),
        ({"norm_num_groups": 3}, "norm_num_groups=3"),
        ({"reconstruction": "vgg19"}, "VGG-19"),
        ({"vgg_weights": "x"}, "takes no weights"),
        ({"reconstruction_weight": 0.0, "l1_weight": 0.0, "edge_weight": 0.0}, "has to be above 0"),
    ],
)
def test_what_does_not_go_together_is_a_config_error(options, said):
    with pytest.raises(ConfigError, match=said):
        AutoencoderStage(**nested(AutoencoderStage, **{**SMALL, **options}))


def run(folder: Path, shards: Path, *words: str, **options: Any) -> int:
    sizes = {**SMALL, "frames": 2, "region_weight": 2.0, **options}
    given = {key: json.dumps(value) if isinstance(value, (list, bool)) else value for key, value in sizes.items()}
    trainer = ("trainer.max_steps=6", "trainer.log_every_n_steps=1", "trainer.val_check_interval=3")
    data = ("data.window=4", "data.batch_size=2", "data.workers=0", "data.video_size=[22,32]")
    return main(
        [
            "stage=video.autoencoder", f"data.shards={shards}", f"run={folder}", *words_of(AutoencoderStage, **given),
            *data, *trainer, "trainer.max_epochs=null", "trainer.check_val_every_n_epoch=null",
            "trainer.enable_progress_bar=false", "checkpoint.every_n_steps=3", "samples.count=0",
            *words,
        ]
    )  # fmt: skip


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(shards, tmp_path, adversarial):
    more = {"adversarial_weight": adversarial, "discriminator_width": 4, "discriminator_layers": 2}
    steps = 12 if adversarial else 6
    assert run(tmp_path / "whole", shards, f"trainer.max_steps={steps}", **more) == 0
    assert run(tmp_path / "parts", shards, f"trainer.max_steps={steps // 2}", **more) == 0
    assert run(tmp_path / "parts", shards, f"trainer.max_steps={steps}", **more) == 0
    one, other = rows(tmp_path / "whole"), rows(tmp_path / "parts")
    assert len(one) == 6
    assert [row["train/loss"] for row in one] == [row["train/loss"] for row in other]
    assert ("train/discriminator" in one[0]) == bool(adversarial)
    exports = [(tmp_path / name / "export" / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert exports[0] == exports[1]
    scales = [json.loads((tmp_path / name / "export/config.json").read_text()) for name in ("whole", "parts")]
    assert scales[0]["scaling_factor"] == scales[1]["scaling_factor"] != 0.18215
    assert load_autoencoder("stage.autoencoder", str(tmp_path / "parts"))[0].config.scaling_factor > 0
    assert "video.autoencoder" in (tmp_path / "whole" / "export" / "README.md").read_text()


def test_the_discriminator_has_no_say_before_its_time():
    made = stage(adversarial_weight=1.0, adversarial_start=5, discriminator_width=4, discriminator_layers=2)
    made.update = lambda part, loss: None
    made.training_step(batch(), 0)
    assert made.logged["train/adversarial"] == 0
    early = made.logged["train/loss"]
    made.adversarial_start = 0
    made.training_step(batch(), 0)
    assert made.logged["train/adversarial"] != 0
    assert made.logged["train/loss"] == pytest.approx(early + made.logged["train/adversarial"], rel=1e-5)


def test_it_is_measured_beside_frames_that_were_made_smaller(shards, tmp_path):
    assert run(tmp_path / "run", shards, "trainer.max_steps=1", "trainer.val_check_interval=1") == 0
    found = evaluate(run=str(tmp_path / "run"), splits=["test"], clips=1, seconds=0.4)["splits"]["test"]
    (_, clip), *_ = [each for each in read_clips(shards, ("video.mp4",)) if each[0].split == "test"]
    truth = torch.from_numpy(read_window(clip["video.mp4"], 0, 10)).permute(0, 3, 1, 2).float() / 255
    small = interpolate(truth, (11, 16), mode="bicubic", antialias=True)
    larger = interpolate(small, (22, 32), mode="bicubic").clamp(0, 1)
    wanted = -10 * (larger - truth).square().mean((1, 2, 3)).log10()
    assert found["systems"]["bicubic"]["psnr"]["mean"] == pytest.approx(wanted.clamp(max=100).mean().item(), rel=1e-3)
    own = load_autoencoder("network", str(tmp_path / "run"))[0]
    with torch.no_grad():
        rebuilt = own.decode(own.encode(truth * 2 - 1).latent_dist.mean).sample.clamp(-1, 1) / 2 + 0.5
    wanted = -10 * (rebuilt - truth).square().mean((1, 2, 3)).log10()
    assert found["systems"]["model"]["psnr"]["mean"] == pytest.approx(wanted.clamp(max=100).mean().item(), rel=1e-3)
    assert {"psnr_mouth_hands", "ssim_mouth", "psnr_hands"} <= set(found["systems"]["model"])


TEMPORAL: dict[str, Any] = {
    "block_out_channels": [32, 32], "norm_num_groups": 32, "mid_block_add_attention": True, "temporal_decoder": True,
    "layers_per_block": 2,
}  # fmt: skip


@pytest.mark.paper("VA-11")
def test_a_decoder_that_mixes_frames_is_trained_on_consecutive_ones_of_one_place():
    made, some = stage(**TEMPORAL, frames=3, crop=8), batch()
    some.video[:] = torch.arange(6, dtype=torch.uint8).view(1, 6, 1, 1, 1) * 40  # every frame tells its number
    some.video += torch.arange(S, dtype=torch.uint8)  # and every column its own
    seen: list[Tensor] = []
    made.network.register_forward_pre_hook(lambda module, args: seen.append(args[0] * 255))
    made.training_step(some, 0).backward()
    assert all(p.grad is not None for p in made.network.parameters())
    made.eval().validation_step(some, 0)
    for frames in seen:
        windows = frames.unflatten(0, (2, 3))
        torch.testing.assert_close(windows.diff(dim=1), torch.full_like(windows[:, 1:], 40), rtol=0, atol=1e-3)
    assert torch.equal(picked(some, 3, None, True), torch.tensor([[2, 3, 4]] * 2))


@pytest.mark.paper("VA-11")
def test_each_window_s_frames_are_mixed_with_their_own_alone():
    network = stage(**TEMPORAL).network
    for name, parameter in network.named_parameters():
        if "mix_factor" in name:
            parameter.data.fill_(0.0)  # half of each
    frames = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    other = torch.cat([frames[:3], 1 - frames[3:]])
    with torch.no_grad():
        apart, changed = (network(each, together=3).frames for each in (frames, other))
        whole, mixed = (network(each).frames for each in (frames, other))
    assert torch.equal(apart[:3], changed[:3])
    assert not torch.allclose(whole[:3], mixed[:3], atol=1e-5)


def test_a_temporal_one_is_saved_in_svd_s_format_found_again_and_trained_on(tmp_path):
    made = stage(**TEMPORAL, scaling_factor=0.3)
    made.network.save_pretrained(tmp_path / "run" / "export")
    found, _ = load_autoencoder("network", str(tmp_path / "run"), ("AutoencoderKLTemporalDecoder",))
    assert found.config.scaling_factor == 0.3
    again = type(made.network).from_pretrained(tmp_path / "run")
    on = AutoencoderStage(base=str(tmp_path / "run"), network={"temporal_decoder": True})
    frames = torch.rand(2, 3, 8, 8)
    wanted = made.network(frames).frames
    for network in (again, on.network):
        torch.testing.assert_close(network(frames).frames, wanted)
    with pytest.raises(ConfigError, match=r"temporal_decoder is True, but that of stage\.base=.* is False"):
        AutoencoderStage(base=str(save_autoencoder(tmp_path / "plain")), network={"temporal_decoder": True})
    for other in ({"norm_num_groups": 16}, {"mid_block_add_attention": False}, {"layers_per_block": 1}):
        with pytest.raises(ConfigError, match=r"temporal_decoder=true goes with norm_num_groups=32"):
            stage(**TEMPORAL | other)
