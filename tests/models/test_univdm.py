"""UniVDM: reference slot, given first frames, speech, segments."""

import dataclasses

import pytest
import torch
from diffusers import UNetMotionModel

from models.paha.generate import UniVDMSource, generate_latents, segments
from models.paha.unet import SlotPositions, SpeechAttention
from models.paha.univdm import UniVDM, UniVDMInputs
from tests.models.filled import filled

B, T, SIZE = 2, 3, (5, 3)
SMALL = {
    "channels": (8, 16), "layers": 1, "head_channels": 4, "cross_channels": 8, "norm_groups": 4, "motion_heads": 2,
    "motion_frames": 6, "downscaling": 4, "image_channels": 6, "audio_layers": 2, "audio_channels": 5,
    "audio_tokens": 4, "audio_width": 16, "window": 4, "fps": 30.0, "train_steps": 50, "sampling_steps": 3,
}  # fmt: skip


def fresh(**options) -> UniVDM:
    torch.manual_seed(0)
    return UniVDM(**{**SMALL, **options}).eval()


def tiny(**options) -> UniVDM:
    """As it is after some training: no weight is zero."""
    return filled(fresh(**options), std=0.3)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(frames: int = T, **more) -> UniVDMInputs:
    return UniVDMInputs(
        **{
            "reference": normal(B, 4, *SIZE),
            "image": normal(B, 1, 6, seed=1),
            "audio": normal(B, frames, 5, 2, 5, seed=2),
            **more,
        }
    )


NOISY, LEVELS = normal(B, 4, T, *SIZE, seed=3), torch.tensor([40, 10])


def differs(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() > 1e-4)


class Spy:
    """Remembers what the UNet was asked."""

    def __init__(self, network: UniVDM):
        self.calls: list[tuple] = []
        network.denoiser.register_forward_pre_hook(lambda module, args: self.calls.append(args))


@pytest.mark.paper("PH-1")
@torch.no_grad()
def test_the_reference_stands_clean_in_front_of_the_frames_and_its_output_is_dropped():
    network = tiny()
    spy, given = Spy(network), inputs()
    output = network(NOISY, LEVELS, given)
    sample, levels, _, audio, _ = spy.calls[0]
    assert output.shape == NOISY.shape
    assert torch.equal(sample[:, :, 0], given.reference)
    assert torch.equal(sample[:, :, 1:], NOISY)
    assert levels.tolist() == [[0, 40, 40, 40], [0, 10, 10, 10]]
    assert audio.shape == (B, T, 4, 8)
    for name in ("reference", "image"):
        other = dataclasses.replace(given, **{name: getattr(given, name).flip(-1)})
        assert differs(network(NOISY, LEVELS, other), output), name


@pytest.mark.paper("PH-1")
def test_published_positions_belong_to_the_video_and_the_slot_has_its_own():
    network = fresh(motion_frames=32)
    positions = [module for module in network.modules() if isinstance(module, SlotPositions)]
    assert positions
    at = positions[0]
    stock = UNetMotionModel(**{**network.denoiser.config})
    published = {k: v for k, v in stock.state_dict().items() if k.endswith("pos_embed.pe")}
    own = network.denoiser.state_dict()
    assert len(published) == len(positions)
    assert all(torch.equal(own[name], table) for name, table in published.items())
    torch.nn.init.constant_(at.slot, 7.0)
    x = torch.zeros(1, 4, at.pe.shape[-1])
    torch.testing.assert_close(at(x)[:, 1:], at.pe[:, :3])
    assert (at(x)[:, 0] == 7).all()


@pytest.mark.paper("PH-5")
def test_weights_of_diffusers_unet_fit_by_their_own_names():
    network = fresh()
    stock = UNetMotionModel(**{**network.denoiser.config})
    missing, unexpected = network.denoiser.load_state_dict(stock.state_dict(), strict=False)
    assert not unexpected
    assert all(".audio_modules." in name or name.endswith("pos_embed.slot") for name in missing)


@pytest.mark.paper("PH-3")
@torch.no_grad()
def test_speech_follows_every_attention_to_the_reference():
    network = tiny()
    blocks = [*network.denoiser.down_blocks, network.denoiser.mid_block, *network.denoiser.up_blocks]
    attending = sum(len(getattr(block, "attentions", ())) for block in blocks)
    assert attending == sum(isinstance(module, SpeechAttention) for module in network.modules()) == 4
    given = inputs()
    output = network(NOISY, LEVELS, given)
    silent = dataclasses.replace(given, audio=None)
    assert differs(network(NOISY, LEVELS, silent), output)
    # Speech that is left out in one sample is left out there alone.
    partly = network(NOISY, LEVELS, given, {"audio": torch.tensor([True, False])})
    torch.testing.assert_close(partly[0], network(NOISY, LEVELS, silent)[0])
    torch.testing.assert_close(partly[1], output[1])


@pytest.mark.paper("PH-3")
@torch.no_grad()
def test_frames_read_the_slot_in_spatial_attention():
    network = tiny()
    for module in network.modules():  # without temporal attention
        if hasattr(module, "motion_modules"):
            for motion in module.motion_modules:
                torch.nn.init.zeros_(motion.proj_out.weight)
                torch.nn.init.zeros_(motion.proj_out.bias)
    given = inputs(image=None)
    output = network(NOISY, LEVELS, given)
    other = dataclasses.replace(given, reference=given.reference + 1)
    assert differs(network(NOISY, LEVELS, other), output)
    # Frames do not see one another.
    noisy = NOISY.clone()
    noisy[:, :, 1] += 1
    changed = network(noisy, LEVELS, given)
    torch.testing.assert_close(changed[:, :, [0, 2]], output[:, :, [0, 2]])
    assert differs(changed[:, :, 1], output[:, :, 1])


@pytest.mark.paper("PH-2")
@torch.no_grad()
def test_a_given_first_frame_is_clean_at_level_0_where_it_is_given():
    network = tiny()
    spy, first = Spy(network), normal(B, 4, *SIZE, seed=9)
    network(NOISY, LEVELS, inputs(first=first, given=torch.tensor([True, False])))
    sample, levels = spy.calls[0][:2]
    assert levels.tolist() == [[0, 0, 40, 40], [0, 10, 10, 10]]
    assert torch.equal(sample[0, :, 1], first[0])
    assert torch.equal(sample[1, :, 1], NOISY[1, :, 0])
    assert torch.equal(sample[:, :, 2:], NOISY[:, :, 1:])
    network(NOISY, LEVELS, inputs(first=first))
    assert torch.equal(spy.calls[1][0][:, :, 1], first), "everywhere, where nothing else is said"


@torch.no_grad()
def test_untrained_speech_changes_nothing_and_checkpointing_changes_no_gradient():
    network, given = fresh(), inputs()
    silent = dataclasses.replace(given, audio=None)
    assert torch.equal(network(NOISY, LEVELS, given), network(NOISY, LEVELS, silent))
    gradients = []
    for recompute in (False, True):
        one = tiny().train()
        if recompute:
            one.enable_gradient_checkpointing()
        with torch.enable_grad():
            one(NOISY, LEVELS, given).square().mean().backward()
        gradients.append({name: p.grad for name, p in one.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert {name for name, _ in tiny().named_parameters()} == set(gradients[0]), "all are trained"
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.paper("PH-2")
@pytest.mark.parametrize(("frames", "found"), [(1, [(0, 1)]), (4, [(0, 4)]), (5, [(0, 4), (3, 5)]),
                                               (10, [(0, 4), (3, 7), (6, 10)])])  # fmt: skip
def test_segments_begin_with_the_frame_that_the_one_before_ended_with(frames, found):
    assert segments(frames, 4) == found


def source(frames: int, batch: int = B, **more) -> UniVDMSource:
    speech = normal(batch, frames, 5, 2, 5, seed=4)
    picture = {"reference": normal(B, 4, *SIZE)[:batch], "image": normal(B, 1, 6, seed=1)[:batch]}
    return UniVDMSource(frames, **{"speech": lambda a, b: speech[:, a:b], **picture, **more})


def made(network: UniVDM, given: UniVDMSource, **options) -> torch.Tensor:
    return torch.cat(list(generate_latents(network, given, **options)), 2)


@pytest.mark.paper("PH-2")
def test_a_long_video_goes_on_from_the_last_frame_of_each_segment():
    network, frames = tiny(), 10
    spy = Spy(network)
    output = made(network, source(frames), steps=2)
    assert output.shape == (B, 4, frames, *SIZE)
    scaled = output * network.latent_scale
    assert len(spy.calls) == 3 * 2
    for number, (sample, levels, *_) in enumerate(spy.calls):
        segment = number // 2
        if segment:
            torch.testing.assert_close(sample[:, :, 1], scaled[:, :, 3 * segment])
            assert (levels[:, 1] == 0).all()
        else:
            assert (levels[:, 1] > 0).all()
    first = normal(B, 4, *SIZE, seed=8)
    torch.testing.assert_close(
        made(network, source(frames, first=first), steps=2)[:, :, 0] * network.latent_scale, first
    )


def test_the_same_seed_gives_the_same_video_whatever_else_is_in_the_batch():
    network = tiny()
    both = made(network, source(6), seed=5)
    assert torch.equal(made(network, source(6), seed=5), both)
    assert differs(made(network, source(6), seed=6), both)
    alone = UniVDMSource(6, normal(B, 4, *SIZE)[:1], lambda a, b: normal(B, 6, 5, 2, 5, seed=4)[:1, a:b],
                         normal(B, 1, 6, seed=1)[:1])  # fmt: skip
    torch.testing.assert_close(made(network, alone, seed=5), both[:1], rtol=1e-3, atol=1e-3)


def test_guidance_has_a_weight_for_each_condition():
    network = tiny()
    plain = made(network, source(4))
    assert differs(made(network, source(4), guidance={"audio": 2.0}), plain)
    assert differs(made(network, source(4), guidance={"reference": 2.0}), plain)
    unheard = made(network, source(4, speech=None))
    torch.testing.assert_close(made(network, source(4), guidance={"audio": 0.0}), unheard, rtol=1e-3, atol=1e-3)


def test_what_makes_no_sense_is_refused():
    network = tiny()
    with pytest.raises(ValueError, match="positions for 6"):
        network(normal(B, 4, 7, *SIZE), LEVELS, inputs(7))
    with pytest.raises(ValueError, match="no condition is called 'pose'"):
        network(NOISY, LEVELS, inputs(), {"pose": torch.tensor([True, False])})
    for given, options, said in (
        (source(0), {}, "no frames"), (source(4), {"window": 7}, "positions for 6"),
        (source(4), {"guidance": {"pose": 1.0}}, "no condition"), (source(4), {"window": 1}, "2 or more"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            made(network, given, **options)
    for options, said in (({"head_channels": 3}, "head_channels=3"), ({"window": 9}, "window=9")):
        with pytest.raises(ValueError, match=said):
            fresh(**options)
