"""ChatAnyone's renderer against the paper's description of it (CA-1, CA-2, CA-9, CA-10, CA-14)."""

import pytest
import torch
from torch import Tensor, nn

from models.chatanyone.displacement import HeadDisplacement
from models.chatanyone.renderer import Renderer
from models.chatanyone.renderer_detector import KeypointDetector, body_points
from models.chatanyone.renderer_warping import WarpingFieldEstimator
from models.warping.decoder import ImageDecoder
from tests.models.filled import filled

HEIGHT, WIDTH, HEAD, BODY = 48, 32, 6, 4
SMALL = {
    "height": HEIGHT,
    "width": WIDTH,
    "halvings": 1,
    "channels": 4,
    "planes": 3,
    "encoder_width": 8,
    "refine_blocks": 1,
    "head_points": HEAD,
    "body_points": BODY,
    "detector_width": 4,
    "detector_halvings": 2,
    "detector_doublings": 1,
    "displacement_width": 4,
    "warp_width": 8,
    "warp_halvings": 1,
    "compress": 2,
    "decoder_width": 8,
    "decoder_blocks": 1,
    "hand_width": 4,
}


def made(**changes) -> Renderer:
    torch.manual_seed(0)
    return filled(Renderer(**SMALL | changes)).eval()


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def heads(*shape: int, seed: int = 5) -> Tensor:
    return torch.rand(*shape, HEAD, 3, generator=torch.Generator().manual_seed(seed)) - 0.5


@pytest.mark.paper("CA-1")
def test_the_heads_key_points_are_the_templates_and_an_offset_read_from_the_frame():
    network, frames, head = made(), pictures(2), heads(2)
    motion = network.encode_motion(frames, head)
    assert motion.offset.shape == (2, HEAD, 3)
    assert torch.equal(motion.offset, network.displacement(frames, head))
    assert motion.offset.abs().max() > 1e-4
    points = network.control(torch.zeros(2, BODY, 3), head, motion)
    torch.testing.assert_close(points[:, :HEAD], head + motion.offset)
    other = network.encode_motion(pictures(2, seed=1), head)
    assert not torch.allclose(other.offset, motion.offset, atol=1e-5), "the same head, another frame"


@pytest.mark.paper("CA-1")
def test_an_offset_looks_where_its_point_is():
    torch.manual_seed(1)
    layer = filled(HeadDisplacement(points=2, width=4, reach=0.1))
    for module in list(layer.modules()):
        for name, part in module.named_children():
            if isinstance(part, nn.GroupNorm):
                setattr(module, name, nn.Identity())  # it mixes all places
    with torch.no_grad():
        layer.look.weight[:, 16:32] = 0  # what is known of the whole frame
    frames = pictures(1).requires_grad_(True)
    head = torch.tensor([[[-0.8, -0.8, 0.0], [0.8, 0.8, 0.0]]])
    (gradient,) = torch.autograd.grad(layer(frames, head)[0, 0].sum(), frames)
    reached = gradient[0].abs().sum(0)
    assert reached[:16, :12].sum() > 0
    assert not reached[32:, 20:].any()
    assert layer(frames, head).abs().max() < 0.1


@pytest.mark.paper("CA-1")
def test_training_begins_at_the_templates_points_and_offsets_can_be_left_out():
    fresh = Renderer(**SMALL)
    assert not fresh.encode_motion(pictures(1), heads(1)).offset.any()
    without = made(displacement=False)
    assert without.displacement is None
    assert not without.encode_motion(pictures(1), heads(1)).offset.any()


@pytest.mark.paper("CA-2")
def test_body_points_are_equation_3_without_a_rotation():
    g = torch.Generator().manual_seed(0)
    canonical, movement = torch.randn(2, BODY, 3, generator=g), torch.randn(2, BODY, 3, generator=g)
    scale, place = torch.rand(2, 1, generator=g) + 0.5, torch.randn(2, 3, generator=g)
    for b in range(2):
        for i in range(BODY):
            by_hand = scale[b] * (canonical[b, i] @ torch.eye(3) + movement[b, i]) + place[b]
            torch.testing.assert_close(body_points(canonical, movement, scale, place)[b, i], by_hand)


@pytest.mark.paper("CA-2")
@pytest.mark.paper("CA-9")
def test_the_detector_finds_canonical_points_movement_scale_and_place():
    torch.manual_seed(0)
    detector = filled(KeypointDetector(points=BODY, width=4, halvings=2, doublings=1))
    found = detector(pictures(3))
    assert [tuple(part.shape) for part in found] == [(3, BODY, 3), (3, BODY, 3), (3, 1), (3, 3)]
    assert (found.scale > 0).all()
    # A heat map with all its weight in one cell says that place: of 24 x 16 cells row 5, column 12.
    seen = torch.full((3, 2 * BODY, 24, 16), 0.0)
    seen[:, :BODY, 5, 12] = 100.0
    seen[:, BODY:] = torch.atanh(torch.tensor(0.25))
    detector.maps.register_forward_hook(lambda module, args, output: seen)
    found = detector(pictures(3))
    wanted = torch.tensor([2 * 12 / 15 - 1, 2 * 5 / 23 - 1, 0.25])
    torch.testing.assert_close(found.movement + detector.rest, wanted.expand(3, BODY, 3), atol=1e-4, rtol=0)


@pytest.mark.paper("CA-9")
def test_control_is_the_heads_points_joined_with_the_bodys():
    network, head = made(), heads(2)
    source = network.encode_source(pictures(2), head)
    motion = source.motion
    body = body_points(source.canonical, motion.movement, motion.scale, motion.place)
    assert source.points.shape == (2, HEAD + BODY, 3)
    torch.testing.assert_close(source.points, torch.cat([head + motion.offset, body], 1))


@pytest.mark.paper("CA-2")
@pytest.mark.paper("CA-9")
def test_a_frame_moves_the_pictures_own_body():
    """X_c is the source's: a driving frame gives movement, scale, place and the head's points alone."""
    network, image, driving, head = made(), pictures(2), pictures(2, 3, seed=1), heads(2, 4)
    output = network(image, head[:, 0], driving, head[:, 1:])
    source = network.encode_source(image, head[:, 0])
    for i in range(3):
        motion = network.encode_motion(driving[:, i], head[:, i + 1])
        points = network.control(source.canonical, head[:, i + 1], motion)
        torch.testing.assert_close(output["points"][:, i], points)
        torch.testing.assert_close(output["frames"][:, i], network.render(source, points[:, None])[:, 0])
    torch.testing.assert_close(output["source_points"], source.points)


@pytest.mark.paper("CA-9")
@pytest.mark.parametrize("part", ["head", "body"])
def test_head_and_body_both_move_the_picture(part):
    network = made()
    nn.init.normal_(network.warping.last[2].weight, std=0.3)
    source = network.encode_source(pictures(1), heads(1))
    moved = source.points[:, None].clone()
    where = slice(0, HEAD) if part == "head" else slice(HEAD, None)
    moved[:, :, where] += 0.3
    still, other = network.render(source, source.points[:, None]), network.render(source, moved)
    assert (still - other).abs().max() > 1e-3


@pytest.mark.paper("CA-9")
def test_points_that_do_not_move_leave_the_volume_where_it_is():
    network = made()
    source = network.encode_source(pictures(1), heads(1))
    field = network.deform(source, source.points[:, None])
    assert not field.flow.any()
    assert field.flow.shape == (1, 1, 3, 3, 24, 16)
    assert field.mask.shape == (1, 1, 3, 24, 16)
    torch.testing.assert_close(field.parts.sum(2), torch.ones(1, 1, 3, 24, 16))


@pytest.mark.paper("CA-9")
@pytest.mark.parametrize("compress", [0, 2])
def test_what_is_at_a_point_comes_from_where_the_source_has_it(compress):
    torch.manual_seed(0)
    layer = WarpingFieldEstimator(points=2, channels=4, planes=1, width=8, halvings=1, compress=compress, spread=0.15)
    with torch.no_grad():
        layer.gain.fill_(30.0)
    volume = torch.randn(1, 4, 1, 24, 16)
    source = torch.tensor([[[-0.5, -0.5, 0.0], [0.5, 0.5, 0.0]]])
    driving = source + torch.tensor([0.2, -0.1, 0.0])
    field = layer(volume, source, driving[:, None])
    row, column = round((driving[0, 0, 1].item() + 1) / 2 * 23), round((driving[0, 0, 0].item() + 1) / 2 * 15)
    torch.testing.assert_close(field.flow[0, 0, :, 0, row, column], torch.tensor([-0.2, 0.1, 0.0]), atol=0.01, rtol=0)
    assert field.flow[0, 0, :, 0, 0, 15].abs().max() < 0.08  # far from both


@pytest.mark.paper("CA-9")
def test_a_head_alone_moves_by_its_points_and_has_no_detector():
    network = made(body_points=0, hands=False)
    assert network.detector is None
    assert network.injections is None
    output = network(pictures(1), heads(1), pictures(1, 2, seed=1), heads(1, 2, seed=6), turned=torch.zeros(1, 2, 2, 3))
    assert output["points"].shape == (1, 2, HEAD, 3)
    assert output["frames"].shape == (1, 2, 3, HEIGHT, WIDTH)
    assert "returned" not in output
    assert not torch.allclose(output["frames"][:, 0], output["frames"][:, 1], atol=1e-4)


def hands(*shape: int) -> Tensor:
    picture = torch.zeros(*shape, 3, HEIGHT, WIDTH)
    picture[..., 30:40, 4:12] = 0.7
    return picture


@pytest.mark.paper("CA-10")
def test_hands_are_brought_in_at_every_scale():
    network = made()
    source = network.encode_source(pictures(1), heads(1))
    assert len(network.injections) == 2
    sizes = []
    for layer in network.injections:
        layer.register_forward_hook(lambda module, args, output: sizes.append(tuple(output.shape[1:])))
    frames = network.render(source, source.points[:, None], hands(1, 1))
    assert sizes == [(16, 24, 16), (8, 48, 32)]
    plain = network.render(source, source.points[:, None])
    for scale in range(2):
        one = made()
        nn.init.zeros_(one.injections[scale].last.weight)
        other = one.render(source, source.points[:, None], hands(1, 1))
        assert (other - frames).abs().max() > 1e-4, "each of them counts"
        assert (other - plain).abs().max() > 1e-4


@pytest.mark.paper("CA-10")
def test_an_empty_picture_of_hands_changes_nothing():
    network = made()
    source = network.encode_source(pictures(2), heads(2))
    points = source.points[:, None].expand(-1, 3, -1, -1)
    empty = network.render(source, points, torch.zeros(2, 3, 3, HEIGHT, WIDTH))
    assert torch.equal(empty, network.render(source, points))
    network.injections = None
    assert torch.equal(empty, network.render(source, points, hands(2, 3)))


def test_a_decoder_without_injection_is_as_it_was():
    torch.manual_seed(0)
    decoder = ImageDecoder(doublings=2, width=8, channels=4, planes=2, blocks=1)
    features = torch.randn(1, 4, 2, 6, 4)
    seen = []

    def look(scale: int, x: Tensor) -> Tensor:
        seen.append((scale, tuple(x.shape[1:])))
        return x

    assert torch.equal(decoder(features, look), decoder(features))
    assert seen == [(0, (32, 6, 4)), (1, (16, 12, 8)), (2, (8, 24, 16))]


@pytest.mark.paper("CA-12")
def test_points_of_turned_frames_are_brought_back():
    """A detector that finds the brightest spot: turned with the picture and brought back, it is where it was."""
    network, spot = made(), (14, 20)
    frames = torch.zeros(1, 1, 3, HEIGHT, WIDTH)
    frames[..., spot[0], spot[1]] = 1.0

    def brightest(seen: Tensor):
        weights = seen.mean(1).flatten(1)
        weights = weights / weights.sum(1, keepdim=True)
        y, x = torch.meshgrid(torch.linspace(-1, 1, HEIGHT), torch.linspace(-1, 1, WIDTH), indexing="ij")
        at = torch.stack([(weights * x.flatten()).sum(1), (weights * y.flatten()).sum(1), weights.sum(1) * 0], -1)
        none = torch.zeros(len(seen), BODY, 3)
        return at[:, None].expand(-1, BODY, -1), none, torch.ones(len(seen), 1), torch.zeros(len(seen), 3)

    network.detector.forward = lambda seen: type(KeypointDetector.forward(network.detector, seen))(*brightest(seen))
    turned = torch.tensor([[[[0.9, -0.2, 0.1], [0.15, 1.05, -0.05]]]])
    output = network(pictures(1), heads(1), frames, heads(1, 1), turned=turned)
    torch.testing.assert_close(output["returned"], output["detected"], atol=0.04, rtol=0)
    wrong = network(pictures(1), heads(1), frames, heads(1, 1), turned=torch.tensor([[[[1.0, 0, 0], [0, 1.0, 0]]]]))
    torch.testing.assert_close(wrong["returned"], wrong["detected"], atol=1e-4, rtol=0)


def test_a_saved_network_makes_the_same_frames(tmp_path):
    network = made()
    network.save_pretrained(tmp_path)
    repeated = Renderer.from_pretrained(tmp_path).eval()
    given = (pictures(1), heads(1), pictures(1, 2), heads(1, 2), hands(1, 2))
    assert torch.equal(repeated(*given)["frames"], network(*given)["frames"])


def test_recomputing_gives_the_same_gradients():
    network = made().train()
    given = (pictures(1), heads(1), pictures(1, 2), heads(1, 2), hands(1, 2))
    network(*given)["frames"].square().sum().backward()
    kept = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    network.enable_gradient_checkpointing()
    network(*given)["frames"].square().sum().backward()
    repeated = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(kept, repeated, strict=True))


def test_frames_do_not_depend_on_their_neighbours():
    network = made()
    source, points = network.encode_source(pictures(1), heads(1)), torch.rand(1, 3, HEAD + BODY, 3) - 0.5
    together = network.render(source, points, hands(1, 3))
    alone = torch.cat([network.render(source, points[:, i : i + 1], hands(1, 1)) for i in range(3)], 1)
    assert torch.allclose(together, alone, atol=1e-5)


def test_appearance_is_of_the_picture():
    source = made().encode_source(pictures(2), heads(2))
    assert source.appearance.shape == (2, 12)
    assert torch.allclose(source.appearance, source.volume.mean((-2, -1)).reshape(2, 12))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"height": 50}, r"height 50 is halved 2 times \(halvings \+ warp_halvings\).* multiple of 4"),
        ({"width": 36, "detector_halvings": 3}, r"width 36 is halved 3 times \(detector_halvings\).* multiple of 8"),
        ({"detector_doublings": 3}, "at most detector_halvings 2"),
    ],
)
def test_sizes_that_do_not_go_together_are_named(changes, said):
    with pytest.raises(ValueError, match=said):
        Renderer(**SMALL | changes)


def test_inputs_that_do_not_fit_are_named():
    network = made()
    with pytest.raises(ValueError, match="32 x 48 pixels, these are 48 x 32"):
        network(pictures(1).mT, heads(1), pictures(1, 1), heads(1, 1))
    with pytest.raises(ValueError, match=r"6 key points of the head.* \(1, 5, 3\)"):
        network.encode_source(pictures(1), heads(1)[:, :5])
    lost = heads(1)
    lost[0, 2] = torch.nan
    with pytest.raises(ValueError, match="key points of the head are not all numbers"):
        network.encode_source(pictures(1), lost)
    with pytest.raises(ValueError, match="the picture is not all numbers"):
        network.encode_source(pictures(1) / 0, heads(1))


@pytest.mark.paper("CA-14")
@pytest.mark.parametrize(("height", "body"), [(768, 21), (512, 0)])
def test_the_papers_sizes_construct(height, body):
    with torch.device("meta"):
        network = Renderer(height=height, width=512, body_points=body, hands=bool(body))
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    print({name: f"{count / 1e6:.2f} M" for name, count in parts.items()})
    assert set(parts) == {
        "image_encoder", "displacement", "warping", "image_decoder", *(("detector", "injections") if body else ()),
    }  # fmt: skip
    assert 15e6 < sum(parts.values()) < 80e6
