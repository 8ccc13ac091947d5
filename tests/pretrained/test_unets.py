"""Published UNets and motion modules, by small files in their format."""

import hashlib
import json
import shutil

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from safetensors.torch import load_file, save_file

from models.paha.univdm import UniVDM
from models.video.unets import UNetSizes
from pretrained import unets
from pretrained.hub import HubError
from pretrained.unets import CONFIG, WEIGHTS, load_motion, load_spatial, load_unified
from settings import ConfigError
from tests.models.video_networks import SMALL, fresh, noisy

SIZES = UNetSizes((8, 16), 1, 2, 8, 4, 4)
MOTION = {
    "block_out_channels": (8, 16), "motion_layers_per_block": 1, "motion_num_attention_heads": 2,
    "motion_norm_num_groups": 4, "motion_max_seq_length": 8,
}  # fmt: skip


def spatial(folder, **other):
    torch.manual_seed(1)
    unet = UNet2DConditionModel(**{**SIZES.arguments("2D"), "attention_head_dim": 2, **other})
    unet.save_pretrained(folder)
    return unet


def adapter(folder, **other):
    torch.manual_seed(2)
    motion = MotionAdapter(**{**MOTION, **other})
    motion.save_pretrained(folder)
    return motion


@pytest.mark.paper("MMGT-16")
@pytest.mark.parametrize("inside", ["", "unet"])
@pytest.mark.parametrize("rank", [0, 2])
def test_a_published_unet_is_both_networks_spatial_part(tmp_path, inside, rank):
    published = spatial(tmp_path / inside)
    network = fresh(lora_rank=rank)
    sha256 = load_spatial(network, "stage.unet", str(tmp_path))
    assert sha256 == hashlib.sha256((tmp_path / inside / WEIGHTS[0]).read_bytes()).hexdigest()
    for unet in (network.denoiser, network.reference_unet):
        own = {name.replace(".base_layer.", "."): value for name, value in unet.state_dict().items()}
        assert all(torch.equal(own[name], value) for name, value in published.state_dict().items())
    z, levels = noisy(network)
    context = torch.randn(2, 1, 8)
    alone = network.denoiser(z, levels, context)
    with torch.no_grad():
        expected = published(z[:, :, 1], levels, context).sample
    torch.testing.assert_close(alone[:, :, 1], expected, atol=1e-5, rtol=1e-4)


def test_published_motion_modules_are_loaded_beneath(tmp_path):
    published, motion = spatial(tmp_path / "sd"), adapter(tmp_path / "motion")
    network = fresh()
    load_spatial(network, "stage.unet", str(tmp_path / "sd"))
    sha256 = load_motion(network, "stage.motion", str(tmp_path / "motion"))
    assert sha256 == hashlib.sha256((tmp_path / "motion" / WEIGHTS[0]).read_bytes()).hexdigest()
    diffusers = UNetMotionModel.from_unet2d(published, motion).eval()
    z, levels = noisy(network)
    context = torch.randn(2, 1, 8)
    with torch.no_grad():
        expected = diffusers(z, levels, context.repeat_interleave(z.shape[2], 0)).sample
        torch.testing.assert_close(network.denoiser(z, levels, context), expected, atol=1e-5, rtol=1e-4)


def test_motion_modules_without_a_middle_leave_ours(tmp_path):
    adapter(tmp_path, use_motion_mid_block=False)
    network = fresh()
    load_motion(network, "stage.motion", str(tmp_path))
    assert network.denoiser.down_blocks[0].motion_modules[0].proj_out.weight.any()
    assert not network.denoiser.mid_block.motion_modules[0].proj_out.weight.any()


def test_half_precision_files_are_read(tmp_path):
    published = spatial(tmp_path)
    state = {name: value.half() for name, value in load_file(tmp_path / WEIGHTS[0]).items()}
    (tmp_path / WEIGHTS[0]).unlink()
    save_file(state, tmp_path / WEIGHTS[1])
    network = fresh()
    load_spatial(network, "stage.unet", str(tmp_path))
    weight = network.denoiser.conv_in.weight
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight, published.conv_in.weight, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"cross_attention_dim": 16},
            r"its cross_attention_dim is 16, this network's is 8; set network\.cross_channels",
        ),
        ({"use_linear_projection": True}, "its use_linear_projection is True, this network's is False"),
        ({"block_out_channels": (8, 32)}, r"its block_out_channels is \[8, 32\], this network's is \[8, 16\]"),
        ({"in_channels": 9}, "its in_channels is 9, this network's is 4"),
    ],
)
def test_a_unet_of_another_version_is_refused(tmp_path, other, said):
    spatial(tmp_path, **other)
    network = fresh()
    with pytest.raises(ConfigError, match=f"^stage.unet={tmp_path}: a UNet of another version: {said}") as caught:
        load_spatial(network, "stage.unet", str(tmp_path))
    assert "\n" not in str(caught.value)


def test_motion_modules_for_other_frames_or_of_other_sizes_are_refused(tmp_path):
    network = fresh()
    adapter(tmp_path / "frames", motion_max_seq_length=6)
    with pytest.raises(ConfigError, match=r"its motion_max_seq_length is 6, .* is 8; set network\.motion_frames"):
        load_motion(network, "stage.motion", str(tmp_path / "frames"))
    adapter(tmp_path / "layers", motion_layers_per_block=2)
    with pytest.raises(ConfigError, match=r"motion modules of another size: its motion_layers_per_block is 2"):
        load_motion(network, "stage.motion", str(tmp_path / "layers"))


def test_what_is_no_unet_or_damaged_is_told(tmp_path):
    network = fresh()

    def load(where):
        load_spatial(network, "stage.unet", str(where))

    adapter(tmp_path / "motion")
    with pytest.raises(ConfigError, match=r"a UNet2DConditionModel is needed; .* is of MotionAdapter"):
        load(tmp_path / "motion")
    with pytest.raises(ConfigError, match="no such folder; give that of a UNet2DConditionModel, or a hub name"):
        load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"is needed there, which is config.json with .*safetensors; .*hf download"):
        load(tmp_path / "empty")
    spatial(tmp_path / "cut")
    weights = tmp_path / "cut" / WEIGHTS[0]
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"cannot be read .*; copy or download it again"):
        load(tmp_path / "cut")
    weights.write_bytes(whole)
    state = load_file(weights)
    state.pop("conv_in.bias")
    save_file(state, weights)
    with pytest.raises(ConfigError, match=r"does not fit its config.json: conv_in.bias differs"):
        load(tmp_path / "cut")
    (tmp_path / "cut" / CONFIG).write_text(json.dumps(["nothing"]))
    with pytest.raises(ConfigError, match="is of no network"):
        load(tmp_path / "cut")


def test_of_the_hub_the_unet_alone_is_fetched(tmp_path, monkeypatch):
    spatial(tmp_path / "unet")
    network, asked = fresh(), []
    monkeypatch.setattr(unets, "snapshot", lambda name, names: asked.append((name, names)) or tmp_path)
    load_spatial(network, "stage.unet", "owner/name")
    assert asked[0][0] == "owner/name"
    assert {f"unet/{CONFIG}", f"unet/{WEIGHTS[0]}"} <= set(asked[0][1])

    def offline(name, names):
        raise HubError("offline")

    monkeypatch.setattr(unets, "snapshot", offline)
    with pytest.raises(ConfigError, match=r"stage.motion=owner/name: no such folder here.*offline"):
        load_motion(network, "stage.motion", "owner/name")
    shutil.rmtree(tmp_path / "unet")


def test_on_the_meta_device_nothing_is_read():
    with torch.device("meta"):
        network = fresh(**SMALL)
        assert load_spatial(network, "stage.unet", "owner/name") == ""
        assert load_motion(network, "stage.motion", "owner/name") == ""


def unified(folder, **other):
    torch.manual_seed(1)
    sizes = {**SIZES.arguments("2D"), "attention_head_dim": [2, 4], "use_linear_projection": True}
    unet = UNet2DConditionModel(**{**sizes, **other})
    unet.save_pretrained(folder)
    return unet


def fresh_unified():
    torch.manual_seed(0)
    return UniVDM(
        channels=(8, 16), layers=1, head_channels=4, cross_channels=8, norm_groups=4, motion_heads=2, motion_frames=8,
        image_channels=6, audio_layers=1, audio_channels=5, audio_tokens=2, audio_width=8, window=4,
    ).eval()  # fmt: skip


@pytest.mark.paper("PH-5")
@pytest.mark.parametrize("inside", ["", "unet"])
def test_a_published_unet_and_motion_modules_are_where_univdm_starts(tmp_path, inside):
    published, motion = unified(tmp_path / "sd" / inside), adapter(tmp_path / "motion")
    network = fresh_unified()
    sha256 = load_unified(network, "stage.unet", str(tmp_path / "sd"))
    assert sha256 == hashlib.sha256((tmp_path / "sd" / inside / WEIGHTS[0]).read_bytes()).hexdigest()
    load_motion(network, "stage.motion", str(tmp_path / "motion"))
    own = network.denoiser.state_dict()
    assert all(torch.equal(own[name], value) for name, value in published.state_dict().items())
    assert all(torch.equal(own[name], value) for name, value in motion.state_dict().items())


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"attention_head_dim": 2}, "attention_head_dim is 2, this network's is .2, 4.; set network.head_channels"),
        ({"use_linear_projection": False}, "use_linear_projection is False"),
        ({"cross_attention_dim": 16}, "cross_attention_dim is 16, this network's is 8; set network.cross_channels"),
        ({"class_embed_type": "timestep"}, "class_embed_type"),
    ],
)
def test_univdm_refuses_a_unet_of_another_version(tmp_path, other, said):
    unified(tmp_path, **other)
    with pytest.raises(ConfigError, match=said):
        load_unified(fresh_unified(), "stage.unet", str(tmp_path))
