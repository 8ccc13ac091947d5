"""Image encoders are found, checked, hashed, and see what transformers' own preprocessor would show them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pretrained.hashes import tensors_hash
from pretrained.images import load_image_encoder
from settings import ConfigError
from tests.image_models import CHANNELS, SIDE, saved_image_encoder


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return saved_image_encoder(tmp_path_factory.mktemp("clip"))


def picture(*shape: int) -> torch.Tensor:
    """Smooth, as a picture that is made smaller had better be."""
    small = torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(small, shape, mode="bilinear")[0] * 255).byte()


def test_the_whole_picture_is_seen_as_transformers_shows_a_square_one(saved):
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    encoder, sha256 = load_image_encoder("network", str(saved))
    network = CLIPVisionModelWithProjection.from_pretrained(saved).eval()
    assert sha256 == tensors_hash(network)
    assert not any(p.requires_grad for p in encoder.parameters())
    frame = picture(48, 30)
    square = Image.fromarray(frame.permute(1, 2, 0).numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    sizes = {"size": {"shortest_edge": SIDE}, "crop_size": SIDE}
    pixels = CLIPImageProcessor(**sizes)(square, return_tensors="pt").pixel_values
    with torch.no_grad():
        wanted = network(pixel_values=pixels).image_embeds[0]
        found = encoder(frame[None, None])
    assert found.shape == (1, 1, CHANNELS)
    torch.testing.assert_close(found[0, 0], wanted, rtol=0.01, atol=0.01 * wanted.abs().max().item())
    other = encoder(picture(48, 30).flip(-2)[None])[0]
    assert (other - wanted).abs().max() > 0.03 * wanted.abs().max(), "another picture is seen as another"


def test_it_is_found_in_a_pipeline_and_in_a_whole_clip_with_its_own_normalisation(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "pipeline" / "image_encoder")
    one, sha256 = load_image_encoder("network", str(tmp_path / "pipeline"))
    assert sha256 == load_image_encoder("network", str(saved))[1]
    whole, _ = load_image_encoder("network", str(saved_image_encoder(tmp_path / "whole", whole=True)))
    assert whole.channels == one.channels == CHANNELS
    own = saved_image_encoder(tmp_path / "own", image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.5, 0.5])
    assert load_image_encoder("network", str(own))[0].mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_on_the_meta_device_it_is_the_published_one():
    with torch.device("meta"):
        encoder, sha256 = load_image_encoder("network", "nowhere/at-all")
        assert (encoder.channels, encoder.side, sha256) == (768, 224, "")
        assert sum(p.numel() for p in encoder.parameters()) == 303_966_208


def _lacking(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in state.items() if "visual_projection" not in name},
        folder / "model.safetensors",
        {"format": "pt"},
    )


def _other(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_lacking, "is another network: visual_projection"),
        (_other, "is a bert, not the vision half of a CLIP; .*hf download"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "cannot be loaded"),
        (lambda folder: (folder / "config.json").unlink(), r"no config\.json there"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_what_is_none_is_named(saved, tmp_path, damage, said):
    folder = shutil.copytree(saved, tmp_path / "clip")
    damage(folder)
    with pytest.raises(ConfigError, match=rf"network={folder}.*{said}"):
        load_image_encoder("network", str(folder))
