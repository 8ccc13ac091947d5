"""Frames to latents and back: chunks, sides that the factor does not divide, and the posterior."""

import pytest
import torch

from models.video.latents import cropped, decode, decode_pieces, downscaling, encode, latent_size, padded, sampled
from models.video.temporal_decoding import decode_chunks
from pretrained.autoencoders import load_autoencoder
from tests.autoencoders import save_autoencoder, save_temporal_autoencoder


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


@pytest.fixture(scope="module")
def mixing(tmp_path_factory):
    """One whose decoder mixes frames."""
    return load_autoencoder("network", str(save_temporal_autoencoder(tmp_path_factory.mktemp("temporal"))))[0]


def moving(frames: int, batch: int = 1) -> torch.Tensor:
    """Latents (B, T, 4, 2, 3) that change from frame to frame."""
    return torch.randn(batch, frames, 4, 2, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.paper("VA-11")
def test_a_decoder_that_mixes_frames_is_given_those_of_one_video_together(mixing):
    latents = moving(5, batch=2)
    whole = decode(mixing, latents, chunk=5)
    assert whole.shape == (2, 5, 3, 8, 12)
    with torch.no_grad():
        direct = mixing.decode(latents[0], num_frames=5).sample.clamp(-1, 1) / 2 + 0.5
    torch.testing.assert_close(whole[0], direct, rtol=0, atol=1e-5)
    other = latents.clone()
    other[0, 2] += 1
    changed = decode(mixing, other, chunk=5)
    assert (changed[0, 1] - whole[0, 1]).abs().max() > 1e-4, "a neighbour sees it"
    assert torch.equal(changed[1], whole[1]), "another video does not"
    some = frames(1, 3, 3, 8, 12)
    mean, _ = encode(mixing, some)
    assert decode(mixing, mean, (7, 12)).shape == (1, 3, 3, 7, 12)


@pytest.mark.parametrize("pieces", [[11], [1] * 11, [4, 4, 3], [5, 6]])
@pytest.mark.parametrize(("chunk", "overlap"), [(4, 1), (6, 3), (4, 0), (1, None), (20, None), (5, None)])
def test_chunks_give_every_frame_once_however_latents_come(mixing, pieces, chunk, overlap):
    latents = moving(11)
    given = list(latents.split(pieces, 1))
    parts = list(decode_chunks(mixing, given, chunk, overlap))
    assert sum(part.shape[1] for part in parts) == 11
    whole = list(decode_chunks(mixing, [latents], chunk, overlap))
    torch.testing.assert_close(torch.cat(parts, 1), torch.cat(whole, 1), rtol=0, atol=1e-5)
    if chunk == 20:
        torch.testing.assert_close(torch.cat(parts, 1)[0], mixing.decode(latents[0], num_frames=11).sample)


@pytest.mark.paper("VA-11")
@torch.no_grad()
def test_where_chunks_overlap_frames_go_over_by_a_triangle(mixing):
    latents = moving(8)
    frames = torch.cat(list(decode_chunks(mixing, [latents], 6, 4)), 1)[0]
    first, second = (mixing.decode(latents[0, part], num_frames=6).sample for part in (slice(0, 6), slice(2, 8)))
    torch.testing.assert_close(frames[:2], first[:2])
    torch.testing.assert_close(frames[6:], second[4:])
    for place, share in enumerate((0.125, 0.375, 0.625, 0.875)):
        expected = (1 - share) * first[2 + place] + share * second[place]
        torch.testing.assert_close(frames[2 + place], expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_seam_between_chunks_is_smaller_where_they_overlap(mixing):
    """Of a still picture all frames are one, but those at the end of a chunk, which lack a neighbour."""
    latents = moving(1).expand(-1, 17, -1, -1, -1)

    def seam(overlap: int) -> float:
        frames = torch.cat(list(decode_chunks(mixing, [latents], 9, overlap)), 1)[0]
        return float((frames[1:] - frames[:-1])[3:-3].abs().amax((1, 2, 3)).max())

    assert seam(4) < 0.5 * seam(0)


def test_pieces_of_latents_become_frames_as_they_come(vae, mixing):
    for network, latents in ((vae, moving(5)[0]), (mixing, moving(5)[0])):
        whole = decode(network, latents[None], (7, 11), chunk=2)[0]
        parts = list(decode_pieces(network, latents.split([2, 3]), (7, 11), chunk=2))
        assert len(parts) > 1
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)
    assert list(decode_pieces(mixing, [], (7, 11))) == []
    with pytest.raises(ValueError, match="overlap has to be from 0 to 1"):
        list(decode_chunks(mixing, [moving(3)], 2, 2))
