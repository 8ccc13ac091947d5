"""Face refinement: heads cut out, the face masked, the refined face blended back (CA-13)."""

import pytest
import torch
from torch import Tensor

from models.chatanyone.face_crop import OUTER, blend_back, crop, face_mask, head_boxes, into_crop
from models.chatanyone.face_refine import FaceRefiner
from models.chatanyone.renderer import Renderer
from tests.models.filled import filled

HEIGHT, WIDTH, SIDE, HEAD = 48, 32, 16, 6
SMALL = {
    "side": SIDE,
    "halvings": 1,
    "channels": 4,
    "planes": 2,
    "encoder_width": 8,
    "refine_blocks": 1,
    "head_points": HEAD,
    "warp_width": 8,
    "warp_halvings": 1,
    "compress": 0,
    "decoder_width": 8,
    "decoder_blocks": 1,
    "background_width": 4,
}


def made(**changes) -> FaceRefiner:
    torch.manual_seed(0)
    return filled(FaceRefiner(**SMALL | changes)).eval()


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def head(rows: int = 1) -> Tensor:
    """Key points from 8 to 24 of 32 columns and from 12 to 28 of 48 rows: a square of 16 pixels."""
    points = torch.rand(rows, HEAD, 3, generator=torch.Generator().manual_seed(3))
    points[:, 0, :2], points[:, 1, :2] = 0.0, 1.0
    low, size = torch.tensor([8 / 16 - 1, 12 / 24 - 1, 0]), torch.tensor([16 / 16, 16 / 24, 0.1])
    return low + points * size


@pytest.mark.paper("CA-13")
def test_a_box_is_a_square_of_pixels_about_the_head():
    box = head_boxes(head(), HEIGHT, WIDTH, 0.25)[0]
    left, top, right, bottom = ((box + 1) / 2 * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])).tolist()
    assert (left, top, right, bottom) == pytest.approx((4, 8, 28, 32))
    middle = torch.tensor([0.0, 20 / 24 - 1, 0.0])
    low = middle + (head() - middle) * torch.tensor([1.0, 0.5, 1.0])  # 16 pixels wide and 8 high: as large a square
    torch.testing.assert_close(head_boxes(low, HEIGHT, WIDTH, 0.25)[0], box)
    nothing = head_boxes(torch.full((1, HEAD, 3), -1.0), HEIGHT, WIDTH, 0.25)
    assert (nothing[:, 2:] > nothing[:, :2]).all()


@pytest.mark.paper("CA-13")
def test_a_crop_holds_the_pixels_of_its_box_and_points_move_with_it():
    frames, boxes = pictures(1), head_boxes(head(), HEIGHT, WIDTH, 0.25)
    cut = crop(frames, boxes, 24)  # a box of 24 pixels: one for one
    torch.testing.assert_close(cut, frames[:, :, 8:32, 4:28], atol=1e-5, rtol=0)
    moved = into_crop(head(), boxes)
    torch.testing.assert_close(moved[0, 0, :2], torch.tensor([2 * 4 / 24 - 1, 2 * 4 / 24 - 1]))
    torch.testing.assert_close(moved[0, 1, :2], torch.tensor([2 * 20 / 24 - 1, 2 * 20 / 24 - 1]))


@pytest.mark.paper("CA-13")
def test_the_face_is_masked_out_of_what_is_brought_in():
    network, frames = made(), pictures(2)
    cut = network.cut(frames, head(2))
    assert cut.face.unique().tolist() == [0.0, 1.0]
    assert torch.equal(cut.background, cut.pictures * (1 - cut.face))
    inside = cut.face[0, 0].bool()
    assert inside[SIDE // 2, SIDE // 2]
    assert not inside[0].any()
    changed = frames.clone()
    box = ((cut.boxes[0] + 1) / 2 * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])).tolist()
    assert box[0] < 16 < box[2]
    changed[:, :, 19:22, 15:18] = 0.5  # in the middle of the face
    other = network.cut(changed, head(2))
    assert torch.equal(other.background, cut.background)
    assert not torch.equal(other.pictures, cut.pictures)


@pytest.mark.paper("CA-13")
def test_the_mask_is_the_ellipse_about_the_points():
    mask = face_mask(head(), HEIGHT, WIDTH)[0, 0]
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    away = (((x - 16) / 8).square() + ((y - 20) / 8).square()).sqrt()
    assert torch.equal(mask.bool(), away < OUTER)
    soft = face_mask(head(), HEIGHT, WIDTH, soft=True)[0, 0]
    torch.testing.assert_close(soft, ((1.2 - away) / 0.25).clamp(0, 1), atol=1e-4, rtol=0)


@pytest.mark.paper("CA-13")
def test_a_refined_face_is_blended_back_and_nothing_else_changes():
    frames, boxes = pictures(1), head_boxes(head(), HEIGHT, WIDTH, 0.25)
    refined = torch.full((1, 3, 24, 24), 0.25)
    output = blend_back(frames, refined, head(), boxes)
    soft = face_mask(head(), HEIGHT, WIDTH, soft=True)
    torch.testing.assert_close(output, frames * (1 - soft) + 0.25 * soft, atol=1e-5, rtol=0)
    outside = (soft == 0).expand_as(frames)
    assert torch.equal(output[outside], frames[outside])
    same = blend_back(frames, crop(frames, boxes, 24), head(), boxes)
    torch.testing.assert_close(same, frames, atol=1e-5, rtol=0)


@pytest.mark.paper("CA-13")
def test_refinement_makes_faces_of_the_source_and_the_points():
    network, frames = made(), pictures(1, 3, seed=1)
    torch.nn.init.normal_(network.warping.last[2].weight, std=0.5)
    points = head().expand(3, -1, -1)[None].clone()
    source = network.encode_head(pictures(1), head())
    output = network.refine(source, frames, points)
    assert output.shape == frames.shape
    outside = face_mask(points[0], HEIGHT, WIDTH).expand(-1, 3, -1, -1)[None] == 0
    assert torch.equal(output[outside], frames[outside])
    assert (output - frames).abs().max() > 0.05
    hidden = frames.clone()
    hidden[..., 17:23, 13:19] = 0  # the generated face itself is not seen
    seen = face_mask(points[0], HEIGHT, WIDTH, soft=True)[None].expand_as(frames) == 1
    torch.testing.assert_close(network.refine(source, hidden, points)[seen], output[seen], atol=1e-5, rtol=0)
    points[:, :, 2] += 0.2  # another expression
    assert (network.refine(source, frames, points) - output).abs().max() > 1e-3


@pytest.mark.paper("CA-13")
def test_it_is_a_light_network_of_the_renderers_kind():
    with torch.device("meta"):
        light, whole = FaceRefiner(), Renderer()
    assert isinstance(light, Renderer)
    assert light.detector is None
    assert light.displacement is None
    counts = [sum(p.numel() for p in network.parameters()) for network in (light, whole)]
    print([f"{count / 1e6:.2f} M" for count in counts])
    assert counts[0] < counts[1] / 5


def test_a_saved_network_makes_the_same_faces(tmp_path):
    network = made(margin=0.5)
    network.save_pretrained(tmp_path)
    repeated = FaceRefiner.from_pretrained(tmp_path).eval()
    source, frames = network.encode_head(pictures(1), head()), pictures(1, 2, seed=1)
    points = head(2)[None]
    assert repeated.margin == 0.5
    assert torch.equal(repeated.refine(source, frames, points), network.refine(source, frames, points))
