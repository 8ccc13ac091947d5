"""Both UNets of latent video: diffusers' own layers, walked through with every condition as an argument."""

import pytest
import torch
from diffusers import UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import AttnProcessor2_0

from models.video.slots import places
from models.video.unets import level_sizes
from tests.models.video_networks import SIZE, B, T, differs, fresh, inputs, noisy, tiny


class Writing(AttnProcessor2_0):
    """diffusers' self-attention, and a list of what it saw."""

    def __init__(self, seen: list):
        super().__init__()
        self.seen = seen

    def __call__(self, attn, hidden_states, *args, **kwargs):
        self.seen.append(hidden_states)
        return super().__call__(attn, hidden_states, *args, **kwargs)


@pytest.mark.parametrize("size", [SIZE, (4, 8)])
@torch.no_grad()
def test_without_slots_the_denoiser_is_diffusers_unet_to_the_last_bit(size):
    unet = tiny().denoiser
    (z, levels), context = noisy(tiny(), size), torch.randn(B, 2, 8)
    stock = UNetMotionModel.forward(unet, z, levels, context.repeat_interleave(T, 0)).sample
    assert torch.equal(unet(z, levels, context), stock)


@torch.no_grad()
def test_the_reference_is_what_diffusers_unet_sees_at_time_zero():
    unet = tiny().reference_unet
    z, context = torch.randn(B, 4, *SIZE), torch.randn(B, 2, 8)
    bank = unet(z, context)
    seen: list[torch.Tensor] = []
    for name, module in unet.named_modules():
        if name.endswith("attn1"):
            module.set_processor(Writing(seen))
    UNet2DConditionModel.forward(unet, z, 0, context)
    assert len(bank) == len(seen) == 4
    assert all(any(torch.equal(each, other) for other in seen) for each in bank.values())


def test_both_unets_have_their_slots_at_the_same_places():
    network = fresh(channels=(8, 16, 16), layers=2)
    assert places(network.denoiser) == places(network.reference_unet)
    assert len(places(network.denoiser)) == 2 * 2 + 1 + 2 * 3


@torch.no_grad()
def test_untrained_motion_modules_are_the_identity_and_frames_alone_do_not_see_one_another():
    z, levels = noisy(fresh())
    given = inputs(fresh())
    new, trained = fresh(), tiny()
    assert torch.equal(new(z, levels, given), new(z, levels, given, temporal=False))
    assert differs(trained(z, levels, given), trained(z, levels, given, temporal=False))
    other = z.clone()
    other[:, :, 0] += 1
    for temporal in (True, False):
        before, after = (trained(x, levels, given, temporal=temporal)[:, :, 1:] for x in (z, other))
        assert differs(before, after) == temporal


def test_frames_alone_leave_the_motion_modules_out_of_the_pass():
    network = fresh()
    for module in network.denoiser.modules():
        if type(module).__name__ == "AnimateDiffTransformer3D":
            module.register_forward_hook(lambda *_: pytest.fail("a motion module ran"))
    network(*noisy(network), inputs(network), temporal=False)


def test_more_frames_than_there_are_positions_are_refused():
    network = fresh()
    z, levels = noisy(network, frames=9)
    with pytest.raises(ValueError, match="9 frames at once, but temporal attention has positions for 8"):
        network(z, levels, inputs(network, frames=9))
    network(z, levels, inputs(network, frames=9), temporal=False)
    with pytest.raises(ValueError, match=r"window=9 frames.*motion_frames=8"):
        fresh(window=9)


@torch.no_grad()
def test_a_picture_of_1079_x_607_pixels():
    network = tiny(downscaling=16, pose_channels=(4, 4, 4, 4, 8), channels=(8, 16, 16, 16), heads=1)
    size = -(-1079 // 16), -(-607 // 16)
    assert network.sizes(*size) == [(68, 38), (34, 19), (17, 10), (9, 5)]
    given = inputs(network, size, frames=1, batch=1)
    given = type(given)(given.reference, skeletons=torch.rand(1, 1, 3, 1079, 607), masks=torch.rand(1, 1, 3, 1079, 607))
    z, levels = noisy(network, size, frames=1, batch=1)
    output = network(z, levels, given)
    assert output.shape == z.shape
    assert output.isfinite().all()


@pytest.mark.paper("MMGT-15")
def test_levels_of_512_pixels_and_of_any_height_and_width():
    assert level_sizes(64, 64, 4) == [(64, 64), (32, 32), (16, 16), (8, 8)]
    seen: list[tuple[int, ...]] = []
    network = fresh(channels=(8, 16, 16, 16))
    for block in network.denoiser.down_blocks:
        block.register_forward_pre_hook(lambda *_: pytest.fail("blocks are walked through"))
        block.resnets[0].register_forward_hook(lambda module, given, output: seen.append(tuple(output.shape[-2:])))
    network(*noisy(network, (13, 6)), inputs(network, (13, 6)))
    assert seen == network.sizes(13, 6) == [(13, 6), (7, 3), (4, 2), (2, 1)]


def test_poses_of_another_size_than_the_latents_are_refused():
    network = fresh()
    given = inputs(network, (5, 4))
    given = type(given)(inputs(network).reference, skeletons=given.skeletons)
    with pytest.raises(ValueError, match=r"poses were drawn at 20 x 16 pixels.* go with 5 x 4 latents, not with 5 x 3"):
        network.encode(given)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heads": 3}, "heads=3 has to divide every one of channels, and does not divide 8"),
        ({"norm_groups": 16}, "norm_groups=16 has to divide"),
        ({"downscaling": 8}, "4 times smaller, but latents are 8 times smaller"),
    ],
)
def test_sizes_that_do_not_go_together_are_told(options, said):
    with pytest.raises(ValueError, match=said):
        fresh(**options)


def test_what_the_reference_writes_is_not_lost_where_arguments_are_copied():
    """As FSDP does, which takes the containers among a layer's arguments apart and builds them anew."""
    from torch.distributed.utils import _apply_to_tensors
    from torch.utils._pytree import tree_map

    from models.video.slots import Bank

    bank = Bank()
    for number, copy in enumerate((tree_map, _apply_to_tensors)):
        copied = copy(lambda leaf: leaf, {"kwargs": [{"write": bank}]})
        copied["kwargs"][0]["write"][str(number)] = torch.ones(1)
    assert list(bank) == ["0", "1"]
