"""MMGT's video network as its stages train it: the noise, what each stage trains, the paper's sizes."""

import dataclasses
import inspect

import pytest
import torch

from models.mmgt.video import MMGTVideo
from tests.models.video_networks import fresh, inputs, noisy, tiny


@pytest.mark.paper("MMGT-20")
def test_one_noise_object_of_scaled_linear_betas():
    defaults = {name: p.default for name, p in inspect.signature(MMGTVideo).parameters.items()}
    noise = fresh(**{name: defaults[name] for name in ("noise_schedule", "train_steps", "predict")}).noise
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    torch.testing.assert_close(noise.alphas_cumprod.double(), (1 - betas).cumprod(0), rtol=1e-4, atol=1e-6)
    assert defaults["predict"] == "epsilon"


@pytest.mark.paper("MMGT-20")
def test_noise_prediction_with_zero_terminal_snr_is_refused():
    with pytest.raises(ValueError, match="predict 'v'"):
        fresh(predict="epsilon", zero_terminal_snr=True)
    for what in ("v", "x0"):
        assert fresh(predict=what, zero_terminal_snr=True).noise.alphas_cumprod[-1] == 0


@pytest.mark.paper("MMGT-21")
@pytest.mark.parametrize("part", ["spatial", "audio_motion"])
def test_each_stage_trains_its_own_parts(part):
    network = tiny().train()
    network.train_only(part)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    late = {name for name in trained if "motion_modules" in name or "audio" in name}
    assert late == (trained if part == "audio_motion" else set())
    given = inputs(network)
    spatial = part == "spatial"
    given = dataclasses.replace(given, audio=None) if spatial else given
    conditions = network.encode(given)
    kept = {name for name in ("image", "pose") if getattr(conditions, name).requires_grad}
    kept |= {place for place, states in conditions.reference.items() if states.requires_grad}
    assert kept == ({"image", "pose", *conditions.reference} if spatial else set()), "what is frozen keeps activations"
    network(*noisy(network), given, temporal=not spatial).square().mean().backward()
    without = [
        name for name, parameter in network.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert without == []
    assert all(p.grad is None for name, p in network.named_parameters() if name not in trained)
    if spatial:
        unread = {id(parameter) for parameter in network.reference_unet.unread()}
        frozen = {n for n, p in network.named_parameters() if id(p) in unread}
        assert (
            trained
            == {n for n, _ in network.named_parameters() if "motion_modules" not in n and "audio" not in n} - frozen
        )


def test_whatever_takes_gradients_gets_them_and_the_reference_networks_last_layers_take_none():
    network = tiny().train()
    network(*noisy(network), inputs(network)).square().mean().backward()
    taking = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in network.named_parameters() if parameter.grad is not None} == taking
    last = {name for name, _ in network.named_parameters()} - taking
    assert len(last) == 24
    assert all(name.startswith("reference_unet.") for name in last)


def test_paper_sizes_part_by_part():
    """SD 1.5 and AnimateDiff count 1,313 million in the denoising network, 453 of them motion; the rest is ours."""
    with torch.device("meta"):
        network, adapted = MMGTVideo(), MMGTVideo(lora_rank=16)

    def millions(parameters) -> float:
        return round(sum(each.numel() for each in parameters) / 1e6, 1)

    heard = [each for name, each in network.named_parameters() if ".audio_modules." in name]
    others = {id(each) for each in heard}
    assert millions(each for each in network.denoiser.parameters() if id(each) not in others) == 1312.7
    assert millions(network.motion_parameters()) == 453.2
    assert millions(heard) == 81.2
    assert millions(network.reference_unet.parameters()) == 859.5
    assert millions(network.reference_unet.unread()) == 2.5
    assert millions(network.audio_projection.parameters()) == 36.5
    assert millions(network.pose_guider.parameters()) == 1.1
    assert millions(network.image_projection.parameters()) == 0.6
    assert millions(network.parameters()) == 2291.6
    assert millions(network.spatial_parameters()) == 1718.3
    assert millions(adapted.spatial_parameters()) == 8.0
