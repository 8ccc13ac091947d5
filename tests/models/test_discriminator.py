"""The patch discriminator and the adversarial losses."""

import math

import pytest
import torch

from models.layers.discriminator import MultiScaleDiscriminator, PatchDiscriminator
from models.losses.adversarial import discriminator_loss, feature_matching_loss, generator_loss

REAL = torch.tensor([[[[2.0, 0.5]]], [[[-1.0, 1.0]]]])
FAKE = torch.tensor([[[[-2.0, -0.5]]], [[[0.0, 3.0]]]])


def small(**options) -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(**{"width": 8, **options})


def frames(count: int = 2, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.paper("IM-10")
@pytest.mark.parametrize(
    ("kind", "discriminator", "generator"),
    [
        # Real patches 2, 0.5, -1, 1 and generated ones -2, -0.5, 0, 3, by hand.
        ("hinge", (0 + 0.5 + 2 + 0) / 4 + (0 + 0.5 + 1 + 4) / 4, -(-2 - 0.5 + 0 + 3) / 4),
        ("lsgan", (1 + 0.25 + 4 + 0) / 4 + (4 + 0.25 + 0 + 9) / 4, (9 + 2.25 + 1 + 4) / 4),
    ],
)
def test_adversarial_losses_by_hand(kind, discriminator, generator):
    assert discriminator_loss(kind, REAL, FAKE).item() == pytest.approx(discriminator)
    assert generator_loss(kind, FAKE).item() == pytest.approx(generator)
    both = discriminator_loss(kind, [REAL, REAL], [FAKE, REAL]).item()
    second = discriminator_loss(kind, REAL, REAL).item()
    assert both == pytest.approx((discriminator + second) / 2), "the mean over scales"
    alone = [generator_loss(kind, FAKE[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(generator_loss(kind, FAKE), torch.stack(alone).mean())


@pytest.mark.paper("IM-10")
@pytest.mark.parametrize("kind", ["hinge", "lsgan"])
def test_each_side_pushes_its_own_way(kind):
    real, fake = torch.zeros(2, 1, 2, 2, requires_grad=True), torch.zeros(2, 1, 2, 2, requires_grad=True)
    (discriminator_loss(kind, real, fake - 0.5)).backward()
    assert (real.grad < 0).all(), "real patches are scored higher"
    assert (fake.grad > 0).all() if kind == "hinge" else (fake.grad < 0).all(), "generated ones are brought to 0 or -1"
    fake.grad = None
    generator_loss(kind, fake).backward()
    assert (fake.grad < 0).all()


def test_feature_matching_by_hand():
    real, fake = (
        [torch.zeros(1, 2, 2, 2), torch.ones(1, 4, 1, 1)],
        [torch.full((1, 2, 2, 2), 2.0), torch.zeros(1, 4, 1, 1)],
    )
    real[0].requires_grad_()
    fake[0].requires_grad_()
    loss = feature_matching_loss(real, fake)
    assert loss.item() == pytest.approx((2 + 1) / 2)
    loss.backward()
    assert real[0].grad is None
    assert fake[0].grad.abs().sum() > 0


def test_losses_that_do_not_go_together_are_told():
    with pytest.raises(ValueError, match="hinge, lsgan"):
        generator_loss("wgan", FAKE)
    with pytest.raises(ValueError, match="hinge, lsgan"):
        discriminator_loss("wgan", REAL, FAKE)
    with pytest.raises(ValueError, match="same layers"):
        feature_matching_loss([REAL], [FAKE, FAKE])


@pytest.mark.paper("IM-10")
@pytest.mark.parametrize("size", [32, 48, 64, 100, 256, 512])
def test_scores_patches_of_any_size(size):
    logits, features = small()(frames(1, size))
    assert logits.shape == (1, 1, size // 16, size // 16)
    assert [f.shape[1] for f in features] == [8, 16, 32, 64]
    assert all(torch.isfinite(f).all() for f in features)


@pytest.mark.paper("IM-10")
def test_a_score_depends_on_its_patch_alone():
    """46 pixels for four layers; instance norm, which looks at the whole frame, is left out."""
    x = frames(1, 128).requires_grad_()
    small(norm="none")(x).logits[0, 0, 4, 4].backward()
    seen = x.grad.abs().sum((0, 1)).nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [46, 46]


def test_a_frame_is_judged_alone():
    x = frames(3)
    network = small()
    torch.testing.assert_close(network(x).logits[1:2], network(x[1:2]).logits)


def test_channels_double_up_to_a_limit():
    logits, features = small(width=4, max_width=8, layers=3, channels=6)(torch.rand(1, 6, 40, 64))
    assert [f.shape[1] for f in features] == [4, 8, 8]
    assert logits.shape == (1, 1, 5, 8)


def test_spectral_norm_bounds_every_layer():
    network = small(spectral_norm=True, norm="none", layers=3)
    with torch.no_grad():
        for block in network.blocks:
            block.convolution.parametrizations.weight.original.mul_(20)
    for _ in range(30):
        network(frames())
    for layer in [*(block.convolution for block in network.blocks), network.score]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_gradients_go_through_it_to_the_generator(spectral_norm):
    network, x = small(spectral_norm=spectral_norm).requires_grad_(False), frames().requires_grad_()
    generator_loss("hinge", network(x).logits).backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("kind", ["hinge", "lsgan"])
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_learns_to_tell_two_sets_of_frames_apart(kind, spectral_norm):
    network = small(spectral_norm=spectral_norm, layers=3)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3, betas=(0.5, 0.999))
    real, generated = frames(4, seed=1), frames(4, seed=2)
    losses = []
    for _ in range(90):
        losses.append(discriminator_loss(kind, network(real).logits, network(generated).logits))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    knowing_nothing = {"hinge": 2, "lsgan": 0.5}[kind]
    assert losses[-1].item() < knowing_nothing / 3


def test_half_precision_and_plain_frames():
    network = small()
    with torch.autocast("cpu", torch.bfloat16):
        loss = generator_loss("hinge", network(torch.full((1, 3, 64, 64), 0.5)).logits)
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_save_and_load(spectral_norm, tmp_path):
    network = small(spectral_norm=spectral_norm, layers=2).eval()
    network.save_pretrained(tmp_path)
    repeated = PatchDiscriminator.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(repeated(frames()).logits, network(frames()).logits)


def test_several_scales(tmp_path):
    torch.manual_seed(0)
    network = MultiScaleDiscriminator(scales=3, width=4, layers=2)
    x = frames(2, 64)
    judgements = network(x)
    assert [j.logits.shape[-1] for j in judgements] == [16, 8, 4]
    quarter = x.unflatten(2, (16, 4)).unflatten(4, (16, 4)).mean((3, 5))
    torch.testing.assert_close(judgements[2].logits, network.scales[2](quarter).logits)
    network.save_pretrained(tmp_path)
    repeated = MultiScaleDiscriminator.from_pretrained(tmp_path)
    torch.testing.assert_close(repeated(x)[1].logits, judgements[1].logits)


def test_what_does_not_go_together_is_told():
    with pytest.raises(ValueError, match="take layers=3"):
        small()(frames(1, 24))
    with pytest.raises(ValueError, match="needs 4"):
        small()(frames(1, 2))
    assert math.prod(small(layers=3)(frames(1, 24)).logits.shape) == 9, "the advice is right"
    with pytest.raises(ValueError, match="N, 3, H, W"):
        small()(torch.rand(1, 6, 32, 32))
    with pytest.raises(ValueError, match="layers"):
        small(layers=0)
    with pytest.raises(ValueError, match="instance"):
        small(norm="batch")
    with pytest.raises(ValueError, match="scales"):
        MultiScaleDiscriminator(scales=0)
