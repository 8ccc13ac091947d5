"""Implicit motion's base network against the paper's description of it (IM-1 to IM-9)."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.implicit_motion import ImplicitMotion
from models.implicit_motion.deviation import DeviationImageTransformer, standardise
from models.implicit_motion.motion_decoder import Deformation, LatentMotionDeviationDecoder
from models.warping.encoder import DepthWeights, ImageEncoder
from models.warping.warp import blend, warp
from tests.models.filled import filled

SMALL = {
    "image_size": 32,
    "feature_size": 16,
    "channels": 4,
    "planes": 3,
    "encoder_width": 8,
    "refine_blocks": 1,
    "appearance_channels": 16,
    "backbone": "test_convnext3",
    "regions": 3,
    "transformer_width": 16,
    "transformer_layers": 1,
    "transformer_heads": 2,
    "convolutions": 2,
    "convolution_width": 4,
    "motion_width": 8,
    "decoder_width": 8,
    "decoder_blocks": 1,
}


@pytest.fixture
def network() -> ImplicitMotion:
    torch.manual_seed(0)
    output = filled(ImplicitMotion(**SMALL)).eval()
    torch.nn.init.normal_(output.motion_decoder.deviate.weight, std=0.05)  # as after some training: features move
    return output


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.paper("IM-1")
def test_a_picture_becomes_features_in_depth_planes():
    encoder = ImageEncoder(halvings=2, width=8, channels=4, planes=3, blocks=1)
    image = pictures(2)
    flat = encoder.features(2 * image - 1)
    assert flat.shape == (2, 32, 8, 8)  # F_0, H = W = S / 4
    assert encoder(image).shape == (2, 4, 3, 8, 8)
    # The convolution makes C numbers for each of S_d planes; plane d of channel c is its output c S_d + d.
    volume, seen = torch.randn(2, 4, 3, 8, 8), []
    encoder.expand.register_forward_hook(lambda module, args, result: volume.flatten(1, 2))
    encoder.weights.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    encoder(image)
    assert torch.equal(seen[0], volume)


@pytest.mark.paper("IM-1")
def test_planes_hold_the_places_of_the_picture():
    """A change in one corner of the picture changes every plane there, and nothing in the far corner."""
    encoder = ImageEncoder(halvings=2, width=8, channels=4, planes=3, blocks=0)
    for module in list(encoder.modules()):
        for name, part in module.named_children():
            if isinstance(part, torch.nn.GroupNorm):
                setattr(module, name, torch.nn.Identity())  # it mixes all places
    image = pictures(1).requires_grad_(True)
    volume = encoder.expand(encoder.features(2 * image - 1)).unflatten(1, (4, 3))
    for plane in range(3):
        (gradient,) = torch.autograd.grad(volume[0, :, plane, 1, 1].sum(), image, retain_graph=True)
        reached = gradient[0].abs().sum(0)
        assert reached[4:8, 4:8].sum() > 0
        assert reached[24:, 24:].sum() == 0
    gains = [volume[0, 1, plane].detach() for plane in range(3)]
    assert all((gains[0] - other).abs().max() > 1e-3 for other in gains[1:]), "planes are not copies of one another"


@pytest.mark.paper("IM-2")
def test_a_plane_without_weight_is_empty_before_it_is_refined():
    encoder = ImageEncoder(halvings=1, width=8, channels=4, planes=3, blocks=0)
    volume = encoder.expand(encoder.features(2 * pictures(2) - 1)).unflatten(1, (4, 3))
    weights = encoder.weights(volume)
    assert weights.shape == (2, 3)
    assert torch.equal(encoder(pictures(2)), weights[:, None, :, None, None] * volume)
    layer = DepthWeights(4, 3)
    by_hand = torch.sigmoid(layer.fc(volume.flatten(2).mean(-1)))
    assert torch.allclose(layer(volume), by_hand, atol=1e-6)
    assert torch.allclose(layer(volume), layer(volume.flip(2).flip(4)), atol=1e-6)  # only the mean is looked at


@pytest.mark.paper("IM-2")
def test_planes_are_weighed_and_then_refined():
    encoder = filled(ImageEncoder(halvings=1, width=8, channels=4, planes=3, blocks=2))
    volume = encoder.expand(encoder.features(2 * pictures(2) - 1)).unflatten(1, (4, 3))
    weights = encoder.weights(volume)[:, None, :, None, None]
    output = encoder(pictures(2))
    torch.testing.assert_close(output, encoder.refine(weights * volume))
    assert (output - weights * encoder.refine(volume)).abs().max() > 0.1


@pytest.mark.paper("IM-3")
def test_appearance_is_one_vector_and_changes_what_is_rendered(network):
    image = pictures(2)
    assert network.encode_appearance(image).shape == (2, 16)
    assert ImplicitMotion(**SMALL | {"appearance_channels": 512}).encode_appearance(image).shape == (2, 512)
    motion = torch.randn(2, 1, 768)
    source = network.encode_source(image)
    other = type(source)(source.volume, source.appearance.flip(0), source.motion)
    assert not torch.allclose(network.render(source, motion), network.render(other, motion), atol=1e-4)
    without = filled(ImplicitMotion(**SMALL, use_appearance=False))
    source = without.encode_source(image)
    other = type(source)(source.volume, source.appearance.flip(0), source.motion)
    assert torch.equal(without.render(source, motion), without.render(other, motion))


@pytest.mark.paper("IM-4")
@pytest.mark.parametrize("backbone", ["convnext_tiny", "test_convnext3"])
def test_each_frame_becomes_768_numbers(backbone):
    network = ImplicitMotion(**SMALL | {"backbone": backbone})
    assert network.encode_motion(pictures(2)).shape == (2, 768)
    output = network(pictures(2), pictures(2, 3))
    assert output["motion"].shape == (2, 3, 768)
    assert output["frames"].shape == (2, 3, 3, 32, 32)


def deviations(**changes) -> DeviationImageTransformer:
    sizes = {"regions": 3, "width": 16, "layers": 1, "heads": 2, "convolutions": 2, "hidden": 4, "transformer": True}
    torch.manual_seed(1)
    return DeviationImageTransformer(**sizes | changes)


@pytest.mark.paper("IM-5")
def test_deviation_maps_are_equation_2():
    layer, source, motion = deviations(), torch.randn(2, 768), torch.randn(2, 4, 768)
    output = layer(source, motion)
    still = F.layer_norm(source, (768,)).view(2, 8, 8, 12)
    moved = F.layer_norm(motion, (768,)).view(2, 4, 8, 8, 12)
    scale, shift = layer._k(moved.movedim(-1, 2))
    for region in range(3):
        for b in range(2):
            for i in range(4):
                delta = still[b].reshape(64, 12).std(0, unbiased=False)
                by_hand = (moved[b, i] - still[b]) / torch.sqrt(delta**2 + 1e-5)
                by_hand = by_hand.movedim(-1, 0) * scale[b, i, region] + shift[b, i, region]
                assert torch.allclose(output[b, i, region], by_hand, atol=1e-4)


@pytest.mark.paper("IM-5")
def test_the_source_itself_does_not_deviate_without_a_shift():
    layer, source = deviations(), torch.randn(2, 768)
    with torch.no_grad():
        last = layer.convolutions[-1]
        last.weight[3:].zero_()
        last.bias[3:].zero_()
    assert (layer(source, source[:, None]) == 0).all()
    assert (layer(source, torch.randn(2, 1, 768)) != 0).any()


@pytest.mark.paper("IM-5")
def test_every_position_is_looked_at_with_the_transformer_and_only_neighbours_without():
    motion = torch.randn(1, 1, 768, requires_grad=True)
    for with_transformer in (True, False):
        layer = deviations(transformer=with_transformer)
        scale, _ = layer._k(standardise(motion.detach()).requires_grad_(True))
        moved = standardise(motion.detach()).requires_grad_(True)
        scale, _ = layer._k(moved)
        (gradient,) = torch.autograd.grad(scale[0, 0, 0, 0, 0, 0], moved)
        far = gradient[0, 0, :, 5:, 5:].abs().sum().item()
        assert (far > 0) is with_transformer


@pytest.mark.paper("IM-6")
def test_there_are_lambda_deviation_maps_a_frame():
    layer, source, motion = deviations(regions=10), torch.randn(2, 768), torch.randn(2, 4, 768)
    maps = layer(source, motion)
    assert maps.shape == (2, 4, 10, 12, 8, 8)
    flat = maps.transpose(1, 2).flatten(2).transpose(0, 1).flatten(1)
    assert torch.linalg.matrix_rank(flat) == 10, "each region has a map of its own"
    with torch.no_grad():
        layer.convolutions[-1].bias[10 + 7] += 1.0  # the shift of region 7
    moved = layer(source, motion) - maps
    torch.testing.assert_close(moved[:, :, 7], torch.ones_like(moved[:, :, 7]))
    assert not moved[:, :, [region for region in range(10) if region != 7]].any()


@pytest.mark.paper("IM-6")
def test_each_map_moves_the_features_by_itself(network):
    """All lambda maps of a frame reach its deformation, each by a way that another does not take."""
    maps, source = torch.randn(1, 1, 3, 12, 8, 8, requires_grad=True), network.encode_source(pictures(1))
    flow = network.motion_decoder(maps, source.volume, source.appearance).flow
    (gradient,) = torch.autograd.grad((flow * torch.randn_like(flow)).sum(), maps)
    reached = gradient[0, 0].flatten(1)
    assert torch.linalg.matrix_rank(reached) == 3


def motion_decoder(**changes) -> LatentMotionDeviationDecoder:
    sizes = {"size": 16, "channels": 4, "planes": 3, "width": 8, "appearance": 6, "attention": True}
    torch.manual_seed(2)
    output = LatentMotionDeviationDecoder(**sizes | changes)
    torch.nn.init.normal_(output.deviate.weight, std=0.1)
    return output


@pytest.mark.paper("IM-7")
def test_focus_sums_to_one_and_weighs_the_regions():
    maps, volume, who = torch.randn(2, 4, 5, 12, 8, 8), torch.randn(2, 4, 3, 16, 16), torch.randn(2, 6)
    decoder = motion_decoder()
    output = decoder(maps, volume, who)
    assert output.flow.shape == (2, 4, 3, 3, 16, 16)
    assert output.focus.shape == (2, 4, 5, 3, 16, 16)
    assert torch.allclose(output.focus.sum(2), torch.ones(2, 4, 3, 16, 16), atol=1e-6)
    assert output.focus.std(2).max() > 0.01
    alone = torch.stack([decoder(maps[:, :, i : i + 1], volume, who).flow for i in range(5)], 2)
    assert torch.allclose(output.flow, (alone * output.focus[:, :, :, None]).sum(2), atol=1e-5)
    uniform = motion_decoder(attention=False)(maps, volume, who)
    assert torch.allclose(uniform.focus, torch.full_like(uniform.focus, 0.2))


@pytest.mark.paper("IM-7")
def test_deviations_depend_on_the_depth_features():
    maps, volume, who = torch.randn(1, 1, 2, 12, 8, 8), torch.randn(1, 4, 3, 16, 16), torch.randn(1, 6)
    decoder = motion_decoder()
    assert not torch.allclose(decoder(maps, volume, who).flow, decoder(maps, volume.flip(2), who).flow, atol=1e-4)


@pytest.mark.paper("IM-8")
def test_there_is_a_mask_for_each_depth_plane():
    maps, volume, who = 9 * torch.randn(2, 4, 5, 12, 8, 8), torch.randn(2, 4, 3, 16, 16), torch.randn(2, 6)
    mask = motion_decoder()(maps, volume, who).mask
    assert mask.shape == (2, 4, 3, 16, 16)
    assert 0 <= mask.min() < mask.max() <= 1
    assert (mask[:, :, 0] - mask[:, :, 1]).abs().max() > 1e-3


def still(mask: float, batch: int = 2, frames: int = 3) -> Deformation:
    flow = torch.zeros(batch, frames, 3, 3, 8, 8)
    weights = torch.full((batch, frames, 3, 8, 8), mask)
    return Deformation(flow, weights, weights[:, :, None])


@pytest.mark.paper("IM-9")
def test_no_deformation_and_no_mask_leave_the_features_alone():
    volume = torch.randn(2, 4, 3, 8, 8)
    assert torch.equal(blend(volume, *still(0.0)[:2], 1.0), volume[:, None].expand(-1, 3, -1, -1, -1, -1))
    assert torch.allclose(blend(volume, *still(1.0)[:2], 1.0), volume[:, None].expand(-1, 3, -1, -1, -1, -1), atol=1e-5)


@pytest.mark.paper("IM-9")
def test_features_are_looked_up_where_the_flow_points():
    volume, flow = torch.randn(1, 2, 3, 8, 8), torch.zeros(1, 3, 3, 8, 8)
    for axis, (size, dimension) in enumerate(((8, 4), (8, 3), (3, 2))):  # x, y, depth
        step = flow.clone()
        step[:, axis] = 2 / (size - 1)  # one place further
        moved = warp(volume, step).narrow(dimension, 0, size - 1)
        assert torch.allclose(moved, volume.narrow(dimension, 1, size - 1), atol=1e-5)


@pytest.mark.paper("IM-9")
def test_masked_features_and_articulation_are_the_papers():
    volume = torch.randn(2, 4, 3, 8, 8)
    flow = 0.3 * torch.randn(2, 3, 3, 3, 8, 8)
    mask = torch.rand(2, 3, 3, 8, 8)
    moved = torch.stack([warp(volume, flow[:, i]) for i in range(3)], 1)
    mixed = mask[:, :, None] * moved + (1 - mask[:, :, None]) * volume[:, None]
    for beta in (0.0, 0.2, 1.0, 1.5):
        by_hand = mixed.clamp(min=0) + beta * mixed.clamp(max=0)
        assert torch.allclose(blend(volume, flow, mask, beta), by_hand, atol=1e-5)


@pytest.mark.paper("IM-9")
def test_beta_is_a_dial_at_run_time(network):
    source, motion = network.encode_source(pictures(1)), torch.randn(1, 2, 768)
    own = network.render(source, motion)
    assert torch.equal(own, network.render(source, motion, beta=network.beta))
    assert not torch.allclose(own, network.render(source, motion, beta=1.0), atol=1e-4)


def test_frames_do_not_depend_on_their_neighbours(network):
    source, motion = network.encode_source(pictures(1)), torch.randn(1, 5, 768)
    together = network.render(source, motion)
    alone = torch.cat([network.render(source, motion[:, i : i + 1]) for i in range(5)], 1)
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_saved_network_makes_the_same_frames(network, tmp_path):
    network.save_pretrained(tmp_path)
    repeated = ImplicitMotion.from_pretrained(tmp_path).eval()
    assert torch.equal(repeated(pictures(1), pictures(1, 2))["frames"], network(pictures(1), pictures(1, 2))["frames"])


def test_recomputing_gives_the_same_gradients(network):
    network.train()
    network(pictures(1), pictures(1, 2))["frames"].square().sum().backward()
    kept = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    network.enable_gradient_checkpointing()
    network(pictures(1), pictures(1, 2))["frames"].square().sum().backward()
    repeated = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(kept, repeated, strict=True))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"feature_size": 12}, "power of 2"),
        ({"image_size": 24, "feature_size": 24}, "8 times a power of 2"),
        ({"backbone": "convnext_huge_and_unheard_of"}, "timm knows no backbone"),
    ],
)
def test_sizes_that_do_not_go_together_are_named(changes, said):
    with pytest.raises(ValueError, match=said):
        ImplicitMotion(**SMALL | changes)


@pytest.mark.paper("IM-3")
@pytest.mark.paper("IM-4")
def test_training_moves_the_picture_by_its_own_motion_and_the_frames_own(network):
    """M^0 and F_A belong to I_S: what `forward` makes of a pair is what a picture and its frames' features give."""
    image, driving = pictures(2), pictures(2, 3, seed=1)
    output = network(image, driving, reencode=True)
    motion = torch.stack([network.encode_motion(frames) for frames in driving])
    torch.testing.assert_close(output["motion"], motion)
    torch.testing.assert_close(output["frames"], network.render(network.encode_source(image), motion))
    torch.testing.assert_close(
        output["reencoded"], torch.stack([network.encode_motion(frames) for frames in output["frames"]])
    )
    assert not torch.allclose(output["frames"][:, 0], output["frames"][:, 1])
