"""Autoencoders of latent diffusion are found, checked and hashed."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.video.autoencoder import VideoAutoencoder
from pretrained import autoencoders
from pretrained.autoencoders import CONFIG, OURS, WEIGHTS, load_autoencoder
from pretrained.hub import HubError
from settings import ConfigError
from tests.autoencoders import save_autoencoder, save_temporal_autoencoder


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save_autoencoder(tmp_path_factory.mktemp("vae"))


@pytest.mark.parametrize("inside", ["", "vae", "export"])
def test_it_is_found_alone_in_a_pipeline_and_in_a_run(saved, tmp_path, inside):
    shutil.copytree(saved, tmp_path / inside, dirs_exist_ok=True)
    network, sha256 = load_autoencoder("network", str(tmp_path))
    assert sha256 == hashlib.sha256((saved / WEIGHTS).read_bytes()).hexdigest()
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_of_the_hub_the_autoencoder_alone_is_fetched(saved, monkeypatch):
    asked = []

    def snapshot(name, names):
        asked.append((name, names))
        return saved

    monkeypatch.setattr(autoencoders, "snapshot", snapshot)
    load_autoencoder("network", "owner/name")
    assert [name for name, _ in asked] == ["owner/name"]
    assert set(asked[0][1]) >= {CONFIG, WEIGHTS, f"vae/{WEIGHTS}"}

    def offline(name, names):
        raise HubError("offline")

    monkeypatch.setattr(autoencoders, "snapshot", offline)
    with pytest.raises(ConfigError, match=r"network=owner/name: .*offline"):
        load_autoencoder("network", "owner/name")


def test_weights_by_their_names_of_before_are_read(saved, tmp_path):
    """Published ones of Stable Diffusion name their attention so."""
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    state = load_file(saved / WEIGHTS)
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        state = {name.replace(f".{new}.", f".{old}."): value for name, value in state.items()}
    save_file(state, tmp_path / WEIGHTS)
    one, other = (load_autoencoder("network", str(folder))[0] for folder in (saved, tmp_path))
    picture = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(one.encode(picture).latent_dist.mean, other.encode(picture).latent_dist.mean)


def test_what_a_run_exports_is_read_here_and_by_diffusers(tmp_path):
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    trained = VideoAutoencoder(block_out_channels=[8, 8], layers_per_block=1, norm_num_groups=2, latent_channels=3)
    trained.measure(torch.tensor(1.0), torch.tensor(5.0))
    trained.save_pretrained(tmp_path / "export")
    network, sha256 = load_autoencoder("network", str(tmp_path))
    assert sha256 == hashlib.sha256((tmp_path / "export" / OURS).read_bytes()).hexdigest()
    assert network.config.scaling_factor == pytest.approx(0.5)
    published = AutoencoderKL.from_pretrained(tmp_path / "export", low_cpu_mem_usage=False)
    again = VideoAutoencoder.from_pretrained(tmp_path)
    assert again.scaling_factor == pytest.approx(0.5)
    picture = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        wanted = trained.eval()(picture)
        assert torch.equal(again.eval()(picture).frames, wanted.frames)
        for one in (network, published):
            assert torch.equal(one.encode(picture * 2 - 1).latent_dist.mean, wanted.mean)
            assert torch.equal(one.decode(wanted.mean).sample / 2 + 0.5, wanted.frames)
    state = load_file(tmp_path / "export" / OURS)
    save_file({name: value for name, value in state.items() if "quant" not in name}, tmp_path / "export" / OURS)
    with pytest.raises(ConfigError, match=r"does not fit its config\.json: quant_conv"):
        load_autoencoder("network", str(tmp_path))
    (tmp_path / "export" / OURS).write_bytes(b"cut")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_autoencoder("network", str(tmp_path))


@pytest.mark.paper("VA-11")
@pytest.mark.parametrize("inside", ["", "vae"])
def test_svds_kind_is_read_strictly(tmp_path, inside):
    folder = save_temporal_autoencoder(tmp_path / inside)
    network, sha256 = load_autoencoder("network", str(tmp_path))
    assert type(network).__name__ == "AutoencoderKLTemporalDecoder"
    assert sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert not any(p.requires_grad for p in network.parameters())
    state = load_file(folder / WEIGHTS)
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())
    with torch.device("meta"):
        planned, _ = load_autoencoder("network", str(tmp_path))
    assert type(planned) is type(network)
    with pytest.raises(ConfigError, match=r"an AutoencoderKL is needed; .* is of AutoencoderKLTemporalDecoder"):
        load_autoencoder("network", str(tmp_path), ("AutoencoderKL",))
    state.pop("decoder.time_conv_out.bias")
    save_file(state, folder / WEIGHTS)
    with pytest.raises(ConfigError, match=r"does not fit its config\.json: decoder\.time_conv_out\.bias"):
        load_autoencoder("network", str(tmp_path))


def test_a_run_that_has_not_ended_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("stage: {name: video.autoencoder}")
    with pytest.raises(ConfigError, match=r"no export yet; .*trainers\.export --run"):
        load_autoencoder("network", str(tmp_path))


def _lacking(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    save_file({name: value for name, value in state.items() if not name.startswith("quant_conv")}, folder / WEIGHTS)


def _cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])


def _other(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "_class_name": "UNet2DModel"}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_lacking, r"does not fit its config\.json: quant_conv"),
        (_cut, "cannot be read"),
        (_other, "an AutoencoderKL or AutoencoderKLTemporalDecoder is needed; .* is of UNet2DModel"),
        (lambda folder: (folder / CONFIG).write_text("no json"), "is of no network of diffusers"),
        (lambda folder: (folder / WEIGHTS).unlink(), "no saved AutoencoderKL there"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_what_is_none_is_named(saved, tmp_path, damage, said):
    folder = shutil.copytree(saved, tmp_path / "vae")
    damage(folder)
    with pytest.raises(ConfigError, match=rf"network={folder}: .*{said}"):
        load_autoencoder("network", str(folder))
