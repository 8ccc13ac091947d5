"""Guidance by classifiers of regions: sequential and differential."""

import pytest
import torch
from torch import Tensor

from models.diffusion.guiders.regional import RegionalGuidance, Weights
from models.diffusion.noise.ddpm import DDPMNoise
from models.diffusion.samplers.ddim import DDIM

SHAPE = (2, 3, 4, 4)
FACE = torch.zeros(1, 1, 4, 4)
FACE[..., :2, 1:3] = 1
MASKS = (1 - FACE, FACE)
FAR = Weights(nonface=0.7, face=0.4, differential=0.3)


def normal(seed: int = 0) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


class Counted:
    """A function that counts its calls, and keeps what it was given."""

    def __init__(self, function):
        self.function, self.calls = function, []

    def __call__(self, *args):
        self.calls.append(args)
        return self.function(*args)


def solver(steps: int = 6) -> DDIM:
    noise = DDPMNoise("linear", 100)

    def denoise(z: Tensor, levels: Tensor) -> Tensor:
        signal, sigma = noise.scales(levels, z)
        return signal * z / (signal**2 + 4 * sigma**2) + z.roll(1, -1) * 0.1  # places see their neighbours

    return DDIM(Counted(denoise), noise, steps)


def judge(wanted: float) -> Counted:
    """A loss that is least at a value, and in which all places hang together."""

    def loss(z: Tensor, levels: Tensor) -> Tensor:
        return 0.5 * (z - wanted).square().sum((1, 2, 3)) + 0.25 * z.sum((1, 2, 3)).square() / 48

    return Counted(loss)


def gradient(wanted: float, z: Tensor) -> Tensor:
    return z - wanted + 0.5 * z.sum((1, 2, 3), keepdim=True) / 48


def guided(sampler: DDIM, **options) -> RegionalGuidance:
    given = {"nonface": judge(1.0), "face": judge(-1.0), "masks": MASKS, "weights": FAR, **options}
    return RegionalGuidance(sampler, given.pop("nonface"), given.pop("face"), given.pop("masks"), **given)


@pytest.mark.paper("PH-17")
@pytest.mark.parametrize("differential", ["off", "residual", "literal"])
def test_rate_0_is_no_guidance_to_the_last_bit(differential):
    plain = solver().run(normal())
    assert torch.equal(guided(solver(), rate=0.0, differential=differential).run(normal()), plain)
    assert not torch.equal(guided(solver(), rate=0.3, differential=differential).run(normal()), plain)


@pytest.mark.paper("PH-15")
@pytest.mark.parametrize("gradients", ["sequential", "together"])
def test_one_correction_by_hand(gradients):
    sampler, z = solver(), normal()
    level = sampler.levels[2]
    sigma = sampler.noise.scales(level[None], z).sigma
    nonface = z - 0.7 * sigma * gradient(1.0, z) * MASKS[0]
    at = nonface if gradients == "sequential" else z
    face = z - 0.4 * sigma * gradient(-1.0, at) * MASKS[1]
    found = guided(sampler, gradients=gradients).correct(z, level)
    torch.testing.assert_close(found.nonface, nonface)
    torch.testing.assert_close(found.face, face)
    torch.testing.assert_close(found.both, face + nonface - z)
    other = guided(sampler, gradients="together" if gradients == "sequential" else "sequential").correct(z, level)
    assert not torch.allclose(other.face, face)


@pytest.mark.paper("PH-15")
def test_the_solver_goes_on_from_what_was_corrected_after_each_of_the_first_steps():
    sampler, z = solver(5), normal()
    plan = guided(solver(5), rate=0.4)
    for number, level in enumerate(sampler.levels):
        z = sampler.step(z, level)
        if number < 2:
            z = plan.correct(z, sampler.levels[number + 1]).both
    torch.testing.assert_close(guided(sampler, rate=0.4).run(normal()), z)


@pytest.mark.paper("PH-16")
@pytest.mark.parametrize("differential", ["residual", "literal"])
def test_differential_guidance_by_hand(differential):
    sampler, z = solver(3), normal()
    levels, f = sampler.levels, sampler.step
    corrected = guided(solver(3)).correct(f(z, levels[0]), levels[1])
    both, nonface, face = (f(each, levels[1]) for each in (corrected.both, corrected.nonface, corrected.face))
    less = both if differential == "residual" else torch.zeros_like(both)
    z = both + 0.3 * ((nonface - less) * MASKS[1] + (face - less) * MASKS[0])
    z = f(z, levels[2])
    torch.testing.assert_close(guided(sampler, rate=0.3, differential=differential).run(normal()), z)


@pytest.mark.paper("PH-17")
def test_weights_and_rate_are_the_paper_s_unless_told_otherwise():
    plain = RegionalGuidance(solver(30), judge(1.0), judge(-1.0), MASKS)
    assert (*plain.weights, plain.corrections) == (1.0, 0.1, 0.25, 15)


@pytest.mark.paper("PH-18")
@pytest.mark.parametrize(
    ("rate", "differential", "evaluations", "passes"),
    [
        (0.0, "off", 30, 0),
        (0.5, "off", 30, 15),
        (0.5, "residual", 60, 15),
        (0.5, "literal", 60, 15),
        (1, "off", 30, 29),
    ],
)
def test_evaluations_and_gradient_passes_are_counted(rate, differential, evaluations, passes):
    sampler, plan = solver(30), None
    plan = guided(sampler, rate=rate, differential=differential)
    plan.run(normal())
    assert len(sampler.denoise.calls) == evaluations
    assert (len(plan.nonface.calls), len(plan.face.calls)) == (passes, passes)


@pytest.mark.paper("PH-15")
def test_guided_samples_suit_both_classifiers_better():
    plain, plan = solver(20).run(normal()), guided(solver(20), weights=Weights(0.1, 0.1))
    made = plan.run(normal())
    level = torch.zeros(2, dtype=torch.long)
    for each, mask in zip((plan.nonface, plan.face), MASKS, strict=True):
        assert (each(made * mask, level) < each(plain * mask, level)).all()


def test_one_classifier_corrects_its_region_alone():
    z = normal()
    found = guided(solver(), face=None).correct(z, solver().levels[1])
    assert torch.equal((found.both - z) * MASKS[1], torch.zeros_like(z))
    assert ((found.both - z) * MASKS[0]).abs().sum() > 0
    assert torch.equal(found.face, z)


def test_a_gradient_that_is_not_finite_is_named():
    def broken(z: Tensor, levels: Tensor) -> Tensor:
        return (z * float("nan")).sum((1, 2, 3))

    with pytest.raises(ValueError, match="gradient of the face classifier is not finite after step 1"):
        guided(solver(), face=broken).run(normal())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rate": 1.5}, "share of the steps"),
        ({"differential": "half"}, "off, residual, literal"),
        ({"gradients": "both"}, "sequential, together"),
        ({"differential": "residual", "face": None}, "give both"),
    ],
)
def test_what_makes_no_sense_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        guided(solver(), **options)
