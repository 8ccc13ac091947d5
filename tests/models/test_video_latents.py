"""Frames to latents and back: chunks, sides that the factor does not divide, and the posterior."""

import pytest
import torch

from models.video.latents import cropped, decode, downscaling, encode, latent_size, padded, sampled
from pretrained.autoencoders import load_autoencoder
from tests.autoencoders import save_autoencoder


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_autoencoder("network", str(save_autoencoder(tmp_path_factory.mktemp("vae"))))[0]


def frames(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_chunks_are_the_whole_and_axes_before_the_picture_stay(vae):
    some = frames(2, 3, 3, 16, 12)
    mean, log_variance = encode(vae, some)
    assert mean.shape == log_variance.shape == (2, 3, 4, 4, 3)
    asked: list[int] = []
    hook = vae.encoder.register_forward_pre_hook(lambda module, args: asked.append(len(args[0])))
    torch.testing.assert_close(encode(vae, some, chunk=4)[0], mean, rtol=0, atol=1e-5)
    hook.remove()
    assert asked == [4, 2]
    whole = decode(vae, mean)
    assert whole.shape == (2, 3, 3, 16, 12)
    torch.testing.assert_close(decode(vae, mean, chunk=1), whole, rtol=0, atol=1e-5)
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert whole.std() > 0.01
    with torch.no_grad():
        direct = vae.encode(some[0].float() / 127.5 - 1).latent_dist
        torch.testing.assert_close(direct.mean, mean[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(vae.decode(direct.mean).sample.clamp(-1, 1) / 2 + 0.5, whole[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(19, 13), (1, 5), (16, 16)])
def test_a_size_that_the_factor_does_not_divide_comes_back(vae, size):
    some = frames(1, 3, *size)
    factor = downscaling(vae)
    mean, _ = encode(vae, some)
    assert mean.shape[-2:] == latent_size(vae, *size) == (-(-size[0] // factor), -(-size[1] // factor))
    assert decode(vae, mean, size).shape[-2:] == size
    wide = padded(some.float(), factor)
    assert all(side % factor == 0 for side in wide.shape[-2:])
    assert torch.equal(cropped(wide, size), some.float()), "points keep their places"
    assert torch.equal(wide[..., -1, -1], some[..., -1, -1].float()), "the last row and column go on"


def test_latents_are_drawn_in_the_precision_of_the_noise():
    mean, log_variance = torch.full((1, 2), 3.0).half(), torch.full((1, 2), 2 * torch.tensor(0.5).log().item()).half()
    drawn = sampled(mean, log_variance, torch.tensor([[2.0, -4.0]]))
    assert drawn.dtype == torch.float32
    torch.testing.assert_close(drawn, torch.tensor([[4.0, 1.0]]), rtol=1e-3, atol=0)
