"""Diffusion parts."""

import math
from typing import NamedTuple

import pytest
import torch

from models.diffusion.conditions import stacked
from models.diffusion.guiders.classifier_free import ClassifierFree
from models.diffusion.guiders.unguided import Unguided
from models.diffusion.noise.ddpm import DDPMNoise
from models.diffusion.noise.edm import EDMNoise
from models.diffusion.preconditioning import EDM, V, preconditioning
from models.diffusion.samplers.ddim import DDIM
from models.diffusion.weighting import loss_weight
from trainers.stage.base import SampleGenerator

NOISES = {"ddpm": DDPMNoise(), "edm": EDMNoise(), "zero": DDPMNoise("scaled_linear", 1000, zero_terminal_snr=True)}
MEAN, STD = 1.5, 0.3


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def best(noise):
    """The best x0 for data of mean 1.5 and spread 0.3, which is known."""

    def denoise(x: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        a, b = noise.scales(levels, x)
        return MEAN + a * STD**2 / (a**2 * STD**2 + b**2) * (x - a * MEAN)

    return denoise


@pytest.mark.paper("MMGT-9")
def test_cosine_schedule_of_a_thousand_steps():
    """abar(t) = f(t) / f(0), f(t) = cos^2((t / T + 0.008) / 1.008 pi / 2) (Nichol and Dhariwal)."""
    noise = DDPMNoise("cosine", 1000)
    assert len(noise.alphas_cumprod) == 1000

    def f(t: float) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    for step in (0, 250, 500, 900):
        assert noise.alphas_cumprod[step].item() == pytest.approx(f(step + 1) / f(0), rel=1e-3)
    assert noise.alphas_cumprod[-1] < 1e-4


@pytest.mark.parametrize(("name", "levels"), [("ddpm", [0, 500, 999]), ("edm", [0.002, 1.3, 80.0])])
def test_noise_is_added_as_the_scales_say(name, levels):
    noise, levels = NOISES[name], torch.tensor(levels)
    x0, drawn = normal(3, 4, 5), normal(3, 4, 5, seed=1)
    signal, sigma = noise.scales(levels, x0)
    assert signal.shape == sigma.shape == (3, 1, 1)
    torch.testing.assert_close(noise.add(x0, drawn, levels), signal * x0 + sigma * drawn)
    torch.testing.assert_close(noise.snr(levels), (signal / sigma).square().flatten())
    if name == "ddpm":
        torch.testing.assert_close(signal.flatten() ** 2, noise.alphas_cumprod[levels])
        torch.testing.assert_close(signal**2 + sigma**2, torch.ones(3, 1, 1))
    else:
        torch.testing.assert_close(sigma.flatten(), levels)


def test_scales_keep_small_noise_in_half_precision():
    """1 - abar of the first steps is lost where abar is rounded first."""
    sigma = DDPMNoise("linear").scales(torch.tensor([0]), normal(1, 2).bfloat16()).sigma
    assert sigma.item() == pytest.approx(0.01, rel=0.01)


def test_zero_terminal_snr_leaves_nothing_of_the_signal():
    noise = NOISES["zero"]
    assert noise.snr(torch.tensor([999])).item() == 0
    assert DDPMNoise("scaled_linear").snr(torch.tensor([999])).item() > 1e-3
    with pytest.raises(ValueError, match="predict 'v'"):
        preconditioning("epsilon", noise)
    assert isinstance(preconditioning("v", noise), V)
    x0, drawn, last = normal(2, 3), normal(2, 3, seed=1), torch.tensor([999, 999])
    scales = noise.scales(last, x0)
    torch.testing.assert_close(V().x0(V().target(x0, drawn, scales), noise.add(x0, drawn, last), scales), x0)


def test_levels_for_training():
    random = SampleGenerator([str(number) for number in range(4000)])
    steps = DDPMNoise("cosine", 10).draw(random)
    assert sorted(steps.unique().tolist()) == list(range(10))
    assert (steps.bincount() / 4000 - 0.1).abs().max() < 0.03
    sigma = EDMNoise(mean=0.7, std=1.6).draw(random).log()
    assert sigma.mean().item() == pytest.approx(0.7, abs=0.15)
    assert sigma.std().item() == pytest.approx(1.6, abs=0.15)


@pytest.mark.parametrize("kind", ["epsilon", "x0", "v", "edm"])
@pytest.mark.parametrize("name", ["ddpm", "edm"])
def test_a_perfect_output_means_x0_and_the_noise(kind, name):
    noise = NOISES[name]
    precondition = preconditioning(kind, noise)
    levels = torch.tensor([10, 400, 800] if name == "ddpm" else [0.1, 1.0, 20.0])
    x0, drawn = normal(3, 4).double(), normal(3, 4, seed=1).double()
    scales = type(noise.scales(levels, x0))(*(part.double() for part in noise.scales(levels, x0)))
    x = scales.signal * x0 + scales.sigma * drawn
    output = precondition.target(x0, drawn, scales)
    torch.testing.assert_close(precondition.x0(output, x, scales), x0)
    torch.testing.assert_close(precondition.noise(output, x, scales), drawn)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 7.0])
def test_edm_is_the_table_of_its_paper(sigma):
    """c_skip = s^2 / (sigma^2 + s^2), c_out = sigma s / sqrt(sigma^2 + s^2), c_in = 1 / sqrt(sigma^2 + s^2)."""
    data, noise = 0.4, EDMNoise()
    x, output = normal(2, 3), normal(2, 3, seed=1)
    scales = noise.scales(torch.full((2,), sigma), x)
    both = sigma**2 + data**2
    expected = data**2 / both * x + sigma * data / both**0.5 * output
    torch.testing.assert_close(EDM(data).x0(output, x, scales), expected)
    torch.testing.assert_close(EDM(data).inputs(x, scales), x / both**0.5)
    # What the network has to put out has spread 1 at every level.
    target = EDM(data).target(data * normal(9999, 1), normal(9999, 1, seed=1), noise.scales(torch.tensor([sigma]), x))
    assert target.std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 300.0])
def test_v_of_edm_noise_is_what_svd_does(sigma):
    """diffusers' scheduler as SVD configures it: the input's scale and the x0 of an output."""
    from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler

    theirs = EulerDiscreteScheduler(
        prediction_type="v_prediction", timestep_type="continuous", sigma_min=sigma, sigma_max=2 * sigma,
        use_karras_sigmas=True, timestep_spacing="leading", steps_offset=1, final_sigmas_type="zero",
    )  # fmt: skip
    theirs.set_timesteps(2)
    last = theirs.timesteps[1]
    theirs.set_begin_index(1)
    x, output = normal(2, 3), normal(2, 3, seed=1)
    scales = EDMNoise(0.001, 900).scales(torch.full((2,), sigma), x)
    torch.testing.assert_close(V().inputs(x, scales), theirs.scale_model_input(x, last), rtol=1e-4, atol=1e-5)
    expected = theirs.step(output, last, x).pred_original_sample
    torch.testing.assert_close(V().x0(output, x, scales), expected, rtol=1e-4, atol=1e-4)


def test_weightings():
    noise = DDPMNoise()
    timesteps = torch.arange(0, 1000, 50)
    snr = noise.snr(timesteps)
    assert loss_weight("uniform", noise, timesteps, "x0").unique().tolist() == [1.0]
    torch.testing.assert_close(loss_weight("min_snr", noise, timesteps, "x0"), snr.clamp(max=5))
    # The same weight seen as an error of the noise: |eps error|^2 = SNR |x0 error|^2.
    torch.testing.assert_close(loss_weight("min_snr", noise, timesteps, "epsilon") * snr, snr.clamp(max=5))


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("name", NOISES)
def test_sampler_ends_at_what_an_all_knowing_network_says(name, eta):
    truth = normal(2, 6, seed=3)
    sampler = DDIM(lambda x, levels: truth, NOISES[name], 20, eta=eta, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sampler.run(normal(2, 6)), truth, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [10, 30])
def test_the_steps_are_those_of_diffusers(steps, eta):
    """Its DDIM scheduler, told the next timestep: its own count is off by one where steps do not divide."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    theirs = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False, timestep_spacing="trailing"
    )
    theirs.set_timesteps(steps)
    noise = NOISES["ddpm"]
    stream = torch.Generator()
    sampler = DDIM(best(noise), noise, steps, eta=eta, generator=stream)
    assert sampler.levels.tolist() == theirs.timesteps.tolist()
    z = normal(4, 3)
    for place, level in enumerate(sampler.levels[:-1]):
        gap = int(level - sampler.levels[place + 1])
        theirs.num_inference_steps = 1000 // gap
        if 1000 // (1000 // gap) != gap:
            continue
        stream.manual_seed(place)
        output = sampler.step(z, level)
        x0 = best(noise)(z, level.expand(4))
        expected = theirs.step(x0, int(level), z, eta=eta, generator=torch.Generator().manual_seed(place))
        torch.testing.assert_close(output, expected.prev_sample, rtol=1e-4, atol=1e-5)


def test_on_edm_noise_it_is_eulers_method():
    from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler

    noise, data = EDMNoise(0.002, 80), 0.5
    theirs = EDMEulerScheduler(sigma_min=0.002, sigma_max=80, sigma_data=data, rho=7)
    theirs.set_timesteps(12)
    sampler = DDIM(best(noise), noise, 12)
    torch.testing.assert_close(sampler.levels, theirs.sigmas[:-1], rtol=1e-4, atol=1e-6)
    result = expected = noise.start(normal(4, 3))
    for level, sigma, timestep in zip(sampler.levels, theirs.sigmas, theirs.timesteps, strict=False):
        result = sampler.step(result, level)
        x0 = best(noise)(expected, sigma.expand(4))
        output = (x0 - data**2 / (sigma**2 + data**2) * expected) / (sigma * data / (sigma**2 + data**2) ** 0.5)
        theirs.is_scale_input_called = True
        expected = theirs.step(output, timestep, expected).prev_sample
    torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.paper("MMGT-9")
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("name", NOISES)
def test_sampling_brings_noise_to_the_data_distribution(name, eta):
    """For normal data the best x0 is known; sampling with it in 50 of 1,000 steps has to give their mean and spread."""
    noise, calls = NOISES[name], []
    stream = torch.Generator().manual_seed(1)
    sampler = DDIM(lambda x, levels: calls.append(float(levels[0])) or best(noise)(x, levels), noise, 50, eta, stream)
    output = sampler.run(normal(20_000, 1))
    assert len(calls) == 50
    assert calls == sorted(calls, reverse=True)
    assert calls[0] == (80 if name == "edm" else 999)
    assert output.mean().item() == pytest.approx(MEAN, abs=0.01)
    # Fresh noise has the posterior's variance for one x0, too little where steps are long and x0 is not known; and the
    # first step from a sample without any signal is long.
    assert output.std().item() == pytest.approx(STD, rel=0.1 if eta == 0 and name != "zero" else 0.2)


def test_a_step_may_be_taken_from_anywhere_and_twice():
    """As guidance by gradients does: nothing of a sample stays in the sampler."""
    noise = NOISES["ddpm"]
    sampler, other = DDIM(best(noise), noise, 7), DDIM(best(noise), noise, 7)
    z = normal(3, 2)
    level = sampler.levels[4]
    first = sampler.step(z, level)
    sampler.step(z + 1, sampler.levels[1])
    assert torch.equal(sampler.step(z, level), first)
    assert torch.equal(other.step(z, level), first)
    assert not torch.equal(sampler.step(z, sampler.levels[3]), first)


@pytest.mark.parametrize("steps", [1, 7, 30, 999])
def test_the_last_step_ends_at_x0_whatever_the_number_of_steps(steps):
    noise = NOISES["ddpm"]
    sampler = DDIM(best(noise), noise, steps)
    assert len(sampler.levels.unique()) == steps
    z, last = normal(3, 2), sampler.levels[-1]
    assert torch.equal(sampler.step(z, last), best(noise)(z, last.expand(3)))


@pytest.mark.parametrize(("name", "steps"), [("ddpm", 0), ("ddpm", 1001), ("edm", 0)])
def test_impossible_numbers_of_steps_are_refused(name, steps):
    with pytest.raises(ValueError, match=f"between 1 and 1000, got {steps}" if name == "ddpm" else "at least 1"):
        DDIM(best(NOISES[name]), NOISES[name], steps)


class Given(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor | None
    size: tuple[int, int]


@pytest.mark.paper("MMGT-9")
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 2.0])
def test_classifier_free_guidance(weight):
    """uncond + w (cond - uncond), and no more passes than are needed."""
    calls = []

    def predict(x, levels, given, left_out):
        calls.append(len(x))
        assert len(levels) == len(given.first) == len(x)
        assert given.second is None
        return torch.where(left_out["audio"][:, None], torch.tensor(10.0), given.first[:, None]).expand_as(x)

    given = Given(torch.tensor([13.0, 14.0]), None, (2, 2))
    output = ClassifierFree(audio=weight).prepare(predict, given)(normal(2, 3), torch.tensor([5, 5]))
    expected = 10 + weight * torch.tensor([3.0, 4.0])
    torch.testing.assert_close(output, expected[:, None].expand(2, 3))
    assert calls == ([2] if weight in (0, 1) else [4])


@pytest.mark.parametrize("weights", [(2.0, 3.0), (1.0, 3.0), (2.0, 2.0), (1.5, 1.0), (0.0, 2.0), (1.0, 1.0)])
def test_each_condition_has_a_weight_of_its_own(weights):
    """none + w1 (a - none) + w2 (a and b - a)."""
    calls = []

    def predict(x, levels, given, left_out):
        calls.append(len(x))
        a, b = ~left_out["a"], ~left_out["b"]
        assert not (b & ~a).any(), "the second condition comes on top of the first"
        return (7 + 10.0 * a + 100.0 * b)[:, None].expand_as(x)

    output = ClassifierFree(a=weights[0], b=weights[1]).prepare(predict, ())(normal(2, 3), torch.tensor([5, 5]))
    torch.testing.assert_close(output, torch.full((2, 3), 7 + weights[0] * 10 + weights[1] * 100))
    shares = (1 - weights[0], weights[0] - weights[1], weights[1])
    assert calls == [2 * sum(share != 0 for share in shares)]


@pytest.mark.paper("VA-11")
@pytest.mark.parametrize("second", [None, 3.0])
def test_a_weight_may_differ_from_frame_to_frame(second):
    """none + w (all - none), with a weight for each frame, beside a condition that has one for all."""
    ramp, calls = torch.linspace(1, 3, 4)[:, None, None], []

    def predict(x, levels, given, left_out):
        calls.append(len(x))
        told = 7 + 10.0 * ~left_out["a"] + 100.0 * ~left_out["b"]
        return told[:, None, None, None, None].expand_as(x)

    x = normal(2, 3, 4, 2, 2)
    weights = {"a": ramp, "b": ramp if second is None else second}
    output = ClassifierFree(**weights).prepare(predict, ())(x, torch.tensor([1.0, 2.0]))
    expected = 7 + 10 * ramp + 100 * weights["b"]
    torch.testing.assert_close(output, expected.expand_as(x))
    assert calls == [4 if second is None else 6]
    one = ClassifierFree(a=torch.ones(4, 1, 1), b=torch.ones(4, 1, 1)).prepare(predict, ())
    one(x, torch.tensor([1.0, 2.0]))
    assert calls[1:] == [2], "weights of 1 are no guidance"


def test_without_guidance_nothing_is_left_out():
    def predict(x, levels, given, left_out):
        assert left_out == {}
        return x * given + levels[:, None]

    x, levels = normal(2, 3), torch.tensor([1.0, 2.0])
    assert torch.equal(Unguided().prepare(predict, 3.0)(x, levels), x * 3 + levels[:, None])


def test_conditions_are_stacked_whatever_holds_them():
    given = {"pair": (torch.tensor([1, 2]), Given(torch.tensor([[3.0], [4.0]]), None, (5, 6))), "name": "x"}
    output = stacked(given, 2)
    assert output["pair"][0].tolist() == [1, 2, 1, 2]
    assert output["pair"][1].first.tolist() == [[3.0], [4.0], [3.0], [4.0]]
    assert output["pair"][1].second is None
    assert (output["pair"][1].size, output["name"]) == ((5, 6), "x")
    assert stacked(given, 1) is given


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DDPMNoise("cosinus"), "cosine, linear, scaled_linear"),
        (lambda: preconditioning("eps", DDPMNoise()), "epsilon, x0, v, edm"),
        (lambda: EDMNoise(2, 1), "below sigma_max"),
        (lambda: EDMNoise(std=0), "above 0"),
        (lambda: EDM(0), "above 0"),
        (lambda: ClassifierFree(), "at least one"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
