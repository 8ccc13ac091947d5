"""Autoencoders of latent diffusion are found, checked and hashed."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pretrained import autoencoders
from pretrained.autoencoders import CONFIG, WEIGHTS, load_autoencoder
from pretrained.hub import HubError
from settings import ConfigError
from tests.autoencoders import save_autoencoder


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
        (_other, "an AutoencoderKL is needed; .* is of UNet2DModel"),
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
