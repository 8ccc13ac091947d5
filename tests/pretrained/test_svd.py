"""The published UNet of Stable Video Diffusion, by small files in its format."""

import hashlib
import json

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from safetensors.torch import load_file, save_file

from pretrained.svd import load_svd
from pretrained.unets import CONFIG, WEIGHTS
from settings import ConfigError
from tests.models.versa_videos import fresh, inputs, noisy, tiny


def svd(folder, **other):
    """As SVD is saved: eight channels go in, heads are a list, frames are 25."""
    torch.manual_seed(1)
    sizes = {
        "in_channels": 8, "out_channels": 4, "block_out_channels": (32, 64), "layers_per_block": 1,
        "cross_attention_dim": 8, "num_attention_heads": (2, 4), "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 24, "num_frames": 25,
        "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    }  # fmt: skip
    unet = UNetSpatioTemporalConditionModel(**{**sizes, **other}).eval()
    unet.save_pretrained(folder)
    return unet


@pytest.mark.paper("VA-11")
@pytest.mark.parametrize("inside", ["", "unet"])
@pytest.mark.parametrize("face", [True, False])
@torch.no_grad()
def test_a_published_unet_is_where_it_starts(tmp_path, inside, face):
    published = svd(tmp_path / inside)
    network = fresh(face_attention=face)
    sha256 = load_svd(network, "stage.svd", str(tmp_path))
    assert sha256 == hashlib.sha256((tmp_path / inside / WEIGHTS[0]).read_bytes()).hexdigest()
    own = network.denoiser.state_dict()
    assert all(torch.equal(own[name], value) for name, value in published.state_dict().items())
    given, (z, levels) = inputs(network), noisy(network)
    sample = torch.cat([z, z], 1).transpose(1, 2)
    times, image = torch.rand(2, 3), torch.randn(2, 1, 8)
    expected = published(sample, levels, image, times).sample
    face_tokens = torch.randn(2, 3, 6, 8) if face else None
    torch.testing.assert_close(
        network.denoiser(sample, levels, times, image, face_tokens), expected, atol=1e-5, rtol=1e-4
    )
    assert network(z, levels, given).isfinite().all()


def test_what_svd_does_not_have_stays(tmp_path):
    svd(tmp_path)
    network, before = tiny(), tiny().state_dict()
    load_svd(network, "stage.svd", str(tmp_path))
    own = [name for name in before if ".processor." in name or not name.startswith("denoiser.")]
    assert len(own) > 20
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in own)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"cross_attention_dim": 16},
            r"its cross_attention_dim is 16, this network's is 8; set network\.cross_channels",
        ),
        ({"in_channels": 4}, r"its in_channels is 4, this network's is 8; set network\.latent_channels"),
        ({"num_attention_heads": (2, 2)}, r"its num_attention_heads is 2, .* \[2, 4\]; set network\.head_channels"),
        ({"block_out_channels": (32, 32)}, r"its block_out_channels is 32, this network's is \[32, 64\]"),
        ({"layers_per_block": 2}, r"its layers_per_block is 2, this network's is 1; set network\.layers"),
        (
            {"addition_time_embed_dim": 16, "projection_class_embeddings_input_dim": 48},
            r"its addition_time_embed_dim is 16, this network's is 8; set network\.time_channels",
        ),
    ],
)
def test_a_unet_of_another_version_is_refused(tmp_path, other, said):
    svd(tmp_path, **other)
    with pytest.raises(ConfigError, match=f"^stage.svd={tmp_path}: a UNet of another version: {said}") as caught:
        load_svd(fresh(), "stage.svd", str(tmp_path))
    assert "\n" not in str(caught.value)


def test_what_is_no_svd_or_damaged_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"no such folder; give that of a UNetSpatioTemporal.*hf download"):
        load_svd(fresh(), "stage.svd", str(tmp_path / "nothing"))
    svd(tmp_path)
    state = load_file(tmp_path / WEIGHTS[0])
    bias = state.pop("mid_block.attentions.0.time_mixer.mix_factor")
    save_file(state, tmp_path / WEIGHTS[0])
    with pytest.raises(
        ConfigError, match=r"does not fit its config\.json: mid_block\.attentions\.0\.time_mixer\.mix_factor"
    ):
        load_svd(fresh(), "stage.svd", str(tmp_path))
    save_file(
        {**state, "mid_block.attentions.0.time_mixer.mix_factor": bias, "more": bias.clone()}, tmp_path / WEIGHTS[0]
    )
    with pytest.raises(ConfigError, match=r"does not fit its config\.json: more differs"):
        load_svd(fresh(), "stage.svd", str(tmp_path))
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**config, "_class_name": "UNet2DConditionModel"}))
    with pytest.raises(ConfigError, match=r"a UNetSpatioTemporalConditionModel is needed; .* is of UNet2D"):
        load_svd(fresh(), "stage.svd", str(tmp_path))


def test_on_the_meta_device_nothing_is_read():
    with torch.device("meta"):
        assert load_svd(fresh(), "stage.svd", "owner/name") == ""
