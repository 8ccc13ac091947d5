"""The weights of MMGT's video diffusion: what is trained, what stays, and what both steps start from."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from settings import ConfigError
from tests.autoencoders import save_autoencoder
from tests.nested import nested
from tests.trainers.video_stages import NETWORK, base_of, batch, of_its_own, stage
from trainers.mmgt.video_audio import VideoAudioStage

KINDS = ("video_pose", "video_audio")


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> Path:
    return save_autoencoder(tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="module")
def base(tmp_path_factory, vae) -> Path:
    return base_of(tmp_path_factory.mktemp("base"), vae)


@pytest.mark.paper("MMGT-21")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained(kind, vae, base):
    one = stage(kind, vae, base if kind == "video_audio" else None)
    trained = {name for name, p in one.named_parameters() if p.requires_grad}
    with_gradient = set()
    one.step(of_its_own(one, batch()), "train").backward()
    with_gradient = {name for name, p in one.named_parameters() if p.grad is not None}
    assert with_gradient == trained, "no more, and none that waits for a gradient in vain"
    heard_or_moved = {n for n in trained if "audio" in n or "motion_modules" in n}
    everything = {name for name, _ in one.network.named_parameters()}
    own = {f"network.{n}" for n in everything if "audio" in n or "motion_modules" in n}
    if kind == "video_audio":
        assert trained == own == heard_or_moved
    else:
        assert not trained & own
        unread = {f"network.{n}" for n in everything} - own - trained
        assert unread
        assert all(name.startswith("network.reference_unet.") for name in unread), "but the last, which nothing reads"
    optimizer = torch.optim.SGD([p for p in one.parameters() if p.requires_grad])
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(trained)
    assert not [name for name in one.state_dict() if name.startswith("latents")]


def test_a_first_step_s_weights_are_what_is_frozen(vae, base):
    there = load_file(base / "export" / "model.safetensors")
    one = stage("video_audio", vae, base)
    for name, p in one.network.named_parameters():
        if not p.requires_grad:
            assert torch.equal(p, there[name]), name
    assert one.frozen()["base"] == one.base_sha256
    assert len(one.frozen()["base"]) == len(one.frozen()["autoencoder"]) == 64
    assert one.network.autoencoder == one.latents.sha256


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"channels": [8, 8]}, r"stage.network.channels is \[8,8\], but \[8,16\] in the network of stage.base"),
        ({"predict": "v"}, "set stage.network.predict=epsilon"),
        ({"latent_channels": 8}, "stage.network.latent_channels"),
        ({"base": "/nowhere"}, "stage.base=/nowhere"),
        ({"autoencoder": "/nowhere"}, "stage.autoencoder=/nowhere"),
    ],
)
def test_a_base_or_autoencoder_that_does_not_fit_is_refused(options, word, vae, base):
    given = {**NETWORK, "autoencoder": str(vae), "base": str(base), **options}
    with pytest.raises(ConfigError, match=word):
        VideoAudioStage(**nested(VideoAudioStage, **given))


def test_latents_of_another_autoencoder_than_the_base_s_are_refused(base, tmp_path):
    with pytest.raises(ConfigError, match="knows the latents of another autoencoder"):
        stage("video_audio", save_autoencoder(tmp_path, seed=1), base)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_is_named(kind, vae):
    with pytest.raises(ConfigError, match="the run folder of a video"):
        stage(kind, None)
    if kind == "video_audio":
        with pytest.raises(ConfigError, match="the run folder of an mmgt"):
            stage(kind, vae)


@pytest.mark.paper("MMGT-16")
def test_both_unets_start_from_published_weights(vae, tmp_path):
    torch.manual_seed(5)
    given = published_unet(tmp_path / "sd")
    one = stage("video_pose", vae, spatial_weights=str(given))
    fresh = stage("video_pose", vae)
    place = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    published = load_file(given / "unet" / "diffusion_pytorch_model.safetensors")[place]
    for unet in ("denoiser", "reference_unet"):
        assert torch.equal(getattr(one.network, unet).get_parameter(place), published)
        assert not torch.equal(getattr(fresh.network, unet).get_parameter(place), published)
    assert "spatial_weights" not in one.frozen(), "they are trained"
    with pytest.raises(ConfigError, match="a UNet of another version"):
        stage("video_pose", vae, spatial_weights=str(given), channels=[8, 8])


def test_lora_trains_what_it_adds_to_published_weights(vae, tmp_path):
    given = published_unet(tmp_path / "sd")
    one = stage("video_pose", vae, spatial_weights=str(given), lora_rank=2)
    one.step(of_its_own(one, batch()), "train").backward()
    trained = {name for name, p in one.network.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in one.network.named_parameters() if p.grad is not None}
    unets = [name for name in trained if name.startswith(("denoiser.", "reference_unet."))]
    assert unets
    assert all(".lora_" in name for name in unets)
    assert any(name.startswith("pose_guider") for name in trained)
    assert len(one.frozen()["spatial_weights"]) == 64, "it goes on beside the same ones only"
    with pytest.raises(ConfigError, match="spatial weights that stay as they are"):
        stage("video_pose", vae, lora_rank=2)


def published_unet(folder: Path) -> Path:
    """A pipeline's folder with a UNet of the tests' sizes, as Stable Diffusion is published."""
    UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=8, attention_head_dim=2, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).save_pretrained(folder / "unet")  # fmt: skip
    return folder
