"""Losses of pictures that need no trained network: structural and L1, with regions; and the threshold loss."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from models.losses import gaussian
from models.losses.gaussian import gaussian_filter
from models.losses.reconstruction import build_reconstruction_loss
from models.losses.regions import region_mean
from models.losses.ssim import ssim_map
from models.losses.structural import L1Loss, StructuralLoss
from models.losses.threshold import threshold_loss
from tests.models.pictures import noisy, pictures

LOSSES = [StructuralLoss(), L1Loss()]
BY_NAME = {"ids": ["structural", "l1"]}


@pytest.mark.parametrize("small", [0, 128], ids=["convolutions", "matrices"])
def test_a_gaussian_filter_weighs_what_is_inside_of_the_picture(small, monkeypatch):
    monkeypatch.setattr(gaussian, "_SMALL", small)
    x = pictures(1, 20)[..., :14].double()

    def windows(size: int) -> torch.Tensor:
        at = torch.arange(size, dtype=torch.float64)
        weights = torch.exp(-(at[:, None] - at).square() / (2 * 2.0**2)) * ((at[:, None] - at).abs() <= 4)
        return weights / weights.sum(1, keepdim=True)

    expected = windows(20) @ x @ windows(14).T
    torch.testing.assert_close(gaussian_filter(x, 2.0, 4), expected)
    torch.testing.assert_close(gaussian_filter(x, 2.0, 4, stride=3), expected[..., ::3, ::3])
    torch.testing.assert_close(gaussian_filter(torch.full((1, 3, 9, 13), 0.3), 1.5, 5), torch.full((1, 3, 9, 13), 0.3))


def test_ssim_is_the_one_that_is_reported():
    x, y = pictures(1), noisy(pictures(1), 0.1)
    ours = ssim_map(x, y)[0].permute(1, 2, 0).numpy()
    _, theirs = structural_similarity(
        x[0].permute(1, 2, 0).numpy(),
        y[0].permute(1, 2, 0).numpy(),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
        channel_axis=2,
        full=True,
    )
    inside = (slice(5, -5), slice(5, -5))
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=1e-4)


def test_ssim_at_a_corner_sees_what_is_there():
    x, y = pictures(1)[:, :1].double(), noisy(pictures(1), 0.1)[:, :1].double()
    a, b = (p[0, 0, :6, :6].numpy() for p in (x, y))
    w = np.exp(-(np.arange(6) ** 2) / (2 * 1.5**2))
    w = np.outer(w, w) / w.sum() ** 2
    m_a, m_b = (w * a).sum(), (w * b).sum()
    covariance = (w * (a - m_a) * (b - m_b)).sum()
    variances = (w * (a - m_a) ** 2).sum() + (w * (b - m_b) ** 2).sum()
    expected = (2 * m_a * m_b + 1e-4) * (2 * covariance + 9e-4) / ((m_a**2 + m_b**2 + 1e-4) * (variances + 9e-4))
    assert ssim_map(x, y)[0, 0, 0, 0].item() == pytest.approx(expected, rel=1e-6)


def test_structural_loss_is_its_formula():
    x, y = pictures(2, 64), pictures(2, 64, seed=1)
    expected = []
    for factor in (1, 2, 4):  # at 1/8, 8 pixels are left: too few
        a, b = (p.unflatten(2, (-1, factor)).unflatten(4, (-1, factor)).mean((3, 5)) for p in (x, y))
        error = a - b
        edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
        expected.append(0.5 * error.abs().mean() + 0.7 * (1 - ssim_map(a, b).mean()) / 2 + 0.3 * edges / 2)
    torch.testing.assert_close(StructuralLoss(l1=0.5, ssim=0.7, edges=0.3)(x, y), torch.stack(expected).mean())
    torch.testing.assert_close(StructuralLoss(levels=1, l1=0.5, ssim=0.7, edges=0.3)(x, y), expected[0])


def test_l1_loss_is_its_formula():
    x, y = pictures(), pictures(seed=1)
    torch.testing.assert_close(L1Loss()(x, y), (x - y).abs().mean())


@pytest.mark.parametrize("loss", LOSSES, **BY_NAME)
def test_nothing_for_equal_frames_and_more_for_worse_ones(loss):
    y = pictures()
    x = y.clone().requires_grad_()
    assert loss(x, y).item() == pytest.approx(0, abs=1e-6)
    loss(x, y).backward()
    assert x.grad.abs().max() < 1e-6
    errors = [loss(noisy(y, strength), y).item() for strength in (0, 0.02, 0.05, 0.1, 0.3)]
    assert errors == sorted(errors)
    assert len(set(errors)) == 5


def test_structural_loss_tells_lost_structure_from_a_change_of_brightness():
    y = pictures() * 0.8
    blurred = gaussian_filter(y, 2.0, 8)
    brighter = y + (blurred - y).abs().mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(L1Loss()(blurred, y), L1Loss()(brighter, y))
    assert StructuralLoss()(blurred, y) > 3 * StructuralLoss()(brighter, y)


@pytest.mark.parametrize("loss", LOSSES, **BY_NAME)
def test_gradients_reach_the_generated_frames_only(loss):
    x, y = noisy(pictures(), 0.1).requires_grad_(), pictures().requires_grad_()
    loss(x, y).backward()
    assert x.grad.abs().sum() > 0
    assert y.grad is None
    ssim_map(x, y).mean().backward()
    assert y.grad is None


@pytest.mark.parametrize("terms", [{"l1": 0, "edges": 0}, {}], ids=["ssim", "all"])
def test_gradients_of_the_structural_loss(terms):
    x, y = noisy(pictures(1, 16), 0.2).double().requires_grad_(), pictures(1, 16).double()
    weight = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: StructuralLoss(**terms)(x, y, weight), x, eps=1e-7, atol=1e-6, fast_mode=True
    )


@pytest.mark.parametrize("loss", LOSSES, **BY_NAME)
def test_regions_count_as_much_as_their_weight(loss):
    y = pictures(1)
    x = y.clone()
    x[..., 24:40, 24:40] = noisy(y, 0.3)[..., 24:40, 24:40]
    everywhere, there, elsewhere = torch.ones(3, 1, 1, 64, 64)
    there, elsewhere = there.clone(), elsewhere.clone()
    there[..., 24:40, 24:40] = 5
    elsewhere[...] = 0
    elsewhere[..., :, 56:] = 1
    torch.testing.assert_close(loss(x, y, everywhere), loss(x, y))
    assert loss(x, y, there) > 2 * loss(x, y)
    assert loss(x, y, elsewhere) < (1e-3 if isinstance(loss, StructuralLoss) else 1e-9) + 0 * loss(x, y)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("loss", LOSSES, **BY_NAME)
def test_a_batch_is_the_mean_of_its_samples(loss, weighted):
    y = pictures(3)
    x = noisy(y, 0.1) * torch.tensor([1, 0.5, 2.0]).view(3, 1, 1, 1)
    weight = torch.rand(3, 1, 64, 64) * torch.tensor([1, 10, 100.0]).view(3, 1, 1, 1) if weighted else None
    alone = [loss(x[i : i + 1], y[i : i + 1], weight[i : i + 1] if weighted else None) for i in range(3)]
    torch.testing.assert_close(loss(x, y, weight), torch.stack(alone).mean())


def test_a_mean_over_regions():
    errors = torch.tensor([[[[1.0, 2], [3, 4]]], [[[5, 6], [7, 8]]]])
    weight = torch.tensor([[[[1.0, 0], [0, 3]]], [[[0, 0], [0, 0]]]])
    assert region_mean(errors, weight).item() == pytest.approx(((1 + 12) / 4 + 0) / 2)
    coarse = torch.tensor([[[[10.0]]], [[[20.0]]]])
    assert region_mean(coarse, weight).item() == pytest.approx(5), "weights are brought to the size of the errors"
    errors.requires_grad_()
    region_mean(errors, weight).backward()
    assert torch.isfinite(errors.grad).all()


@pytest.mark.parametrize("loss", LOSSES, **BY_NAME)
def test_half_precision(loss):
    y = pictures()
    x = noisy(y, 0.05).requires_grad_()
    expected = loss(x, y)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(x, y)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert torch.isfinite(x.grad).all()
    low = loss(x.bfloat16(), y.bfloat16())
    assert low.item() == pytest.approx(expected.item(), rel=0.05)


def test_what_does_not_go_together_is_told():
    loss = StructuralLoss()
    with pytest.raises(ValueError, match="one shape"):
        loss(pictures(1), pictures(2))
    with pytest.raises(ValueError, match="flatten time"):
        loss(pictures()[None], pictures()[None])
    with pytest.raises(ValueError, match="weights of these frames are"):
        loss(pictures(), pictures(), torch.ones(2, 64, 64))
    with pytest.raises(ValueError, match="16 pixels"):
        loss(pictures(size=12), pictures(size=12))
    with pytest.raises(ValueError, match="levels"):
        StructuralLoss(levels=0)
    with pytest.raises(ValueError, match="one is positive"):
        StructuralLoss(l1=0, ssim=0, edges=0)


def test_losses_by_name():
    x, y = noisy(pictures(), 0.1), pictures()
    assert build_reconstruction_loss("l1")(x, y) == L1Loss()(x, y)
    assert build_reconstruction_loss("structural", levels=2)(x, y) == StructuralLoss(levels=2)(x, y)
    with pytest.raises(ValueError, match="vgg19, structural, l1"):
        build_reconstruction_loss("lpips")
    with pytest.raises(ValueError, match="takes no features"):
        build_reconstruction_loss("l1", torch.nn.Identity())


@pytest.mark.paper("IM-11")
def test_threshold_loss_is_its_formula():
    truth = torch.tensor([[0.0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    features = torch.tensor([[0.3, -0.3, 0.1, 0.1], [1.04, 0.96, 1.04, 0.96], [0.0, 0, 0, 0.21]])
    first = (0.09 + 0.09 + 0.01 + 0.01) / 4
    third = 0.21**2 / 4  # the mean distance is 0.0525: above; that of the second is 0.04: below
    expected = (first**0.5 + 0 + third**0.5) / 3
    assert threshold_loss(truth, features, 0.05).item() == pytest.approx(expected, rel=1e-6)
    assert threshold_loss(truth, features, 0.06).item() == pytest.approx(first**0.5 / 3, rel=1e-6)


@pytest.mark.paper("IM-11")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("distance", [0.0, 1e-30, 0.03])
@pytest.mark.parametrize("threshold", [0.05, 0.0])
def test_small_errors_have_no_loss_and_no_gradient(dtype, distance, threshold):
    truth = torch.zeros(2, 8, dtype=dtype, requires_grad=True)
    features = torch.full((2, 8), distance, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = threshold_loss(truth, features, threshold)
    loss.backward()
    if distance > threshold and distance > 1e-20:
        assert loss.item() == pytest.approx(distance, rel=0.01)
        assert features.grad.float().sum().item() == pytest.approx(1, rel=0.01)
    else:
        assert loss.item() == 0
        assert torch.equal(features.grad, torch.zeros_like(features))
        assert torch.equal(truth.grad, torch.zeros_like(truth))


@pytest.mark.paper("IM-11")
def test_each_sample_has_a_threshold_of_its_own():
    truth, features = torch.zeros(2, 4), torch.zeros(2, 4)
    features[0] = 0.04
    features[1] = 2
    features.requires_grad_()
    loss = threshold_loss(truth, features)
    loss.backward()
    assert loss.item() == pytest.approx(1)
    assert not features.grad[0].any()
    assert features.grad[1].tolist() == pytest.approx([1 / 8] * 4)


def test_numbers_that_are_not_finite_are_not_hidden_by_the_threshold():
    features = torch.zeros(2, 4)
    features[0, 0] = torch.nan
    assert threshold_loss(torch.zeros(2, 4), features).isnan()


def test_threshold_loss_of_other_shapes():
    with pytest.raises(ValueError, match="one shape"):
        threshold_loss(torch.zeros(2, 4), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="negative"):
        threshold_loss(torch.zeros(2, 4), torch.zeros(2, 4), -1)
