"""Faces in frames without key points: found each by itself, on a real person (NASA's portrait of Eileen Collins)."""

import numpy as np
import pytest
import skimage.data
import torch

import metrics
from metrics import ExpressionDistance
from trainers.evaluation import pretrained
from trainers.evaluation.faces import DETECTOR, EVERY, FaceFinder, face_box, face_crop, in_widths


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    """(3, 256, 320) uint8."""
    picture = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)
    return picture[:, :256, 60:380].contiguous()


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def test_a_face_is_found_where_it_is_and_nobody_in_noise(portrait, finder):
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, portrait.shape, dtype=np.uint8))
    points = finder(torch.stack([portrait, noise, portrait]))
    assert points.shape == (3, 68, 3)
    assert np.isnan(points[1]).all()
    np.testing.assert_array_equal(points[0], points[2])  # whatever came before
    face = points[0, :, :2]
    eyes = face[36:42].mean(0), face[42:48].mean(0)
    assert eyes[0][0] < eyes[1][0] - 0.05, "her right eye is left in the picture"
    assert face[8, 1] > face[57, 1] > face[30, 1] > max(eyes[0][1], eyes[1][1]), "chin, lips, nose, eyes from below"
    small = torch.nn.functional.interpolate(portrait[None].float(), (64, 80), mode="area")
    np.testing.assert_allclose(finder(small / 255)[0, :, :2], face, atol=0.03)


@pytest.mark.paper("VA-17")
def test_the_distance_of_a_real_face_from_itself_is_nothing_and_from_a_wider_one_it_is_something(portrait, finder):
    shifted = torch.stack([portrait, portrait.roll(6, 2), portrait.roll(-5, 1), portrait.roll(9, 2)])
    wide = torch.nn.functional.interpolate(shifted[..., 40:-40].float(), (256, 320), mode="bilinear") / 255
    distances = {}
    for name, generated in (("itself", shifted), ("wider", wide)):
        metric = ExpressionDistance(DETECTOR)
        metric.update(in_widths(finder(generated), generated), generated=True)
        metric.update(in_widths(finder(shifted), shifted), generated=False)
        assert (metric.missed, metric.unseen) == (0, 0)
        distances[name] = metric.compute().item()
    assert distances["itself"] < 1e-6
    assert distances["wider"] > 0.05


def test_the_faces_of_true_frames_are_found_once(portrait, monkeypatch):
    finder, asked = FaceFinder(), []
    monkeypatch.setattr(FaceFinder, "__call__", lambda self, frames: asked.append(len(frames)) or np.zeros((2, 68, 3)))
    clip, other = torch.zeros(10, 3, 8, 8), torch.zeros(11, 3, 8, 8)
    for frames in (clip, clip, other, other, clip):
        finder.of_truth(frames)
    assert asked == [10 // EVERY, 1 + 10 // EVERY, 10 // EVERY]


def test_one_square_holds_the_face_of_a_clip_wherever_it_goes():
    points = np.full((4, 68, 3), np.nan)
    points[0, :, :2] = np.random.default_rng(0).uniform((0.4, 0.3), (0.5, 0.5), (68, 2))
    points[2, :, :2] = points[0, :, :2] + (0.1, 0.0)
    left, top, right, bottom = face_box(points, aspect=2.0)
    seen = points[[0, 2], :, :2]
    assert left < seen[..., 0].min() < seen[..., 0].max() < right
    assert top < seen[..., 1].min() < seen[..., 1].max() < bottom
    assert (right - left) * 2.0 == pytest.approx(bottom - top), "square in pixels"
    assert face_box(np.full((4, 68, 3), np.nan), 1.0) is None


def test_a_crop_is_what_stands_in_the_box():
    frames = torch.zeros(2, 3, 40, 80, dtype=torch.uint8)
    frames[:, :, 10:30, 40:60] = 255
    assert (face_crop(frames, (0.5, 0.25, 0.75, 0.75), 32) == 1).all()
    assert (face_crop(frames.float() / 255, (0.0, 0.0, 0.4, 1.0), 32) == 0).all()


class Distance(metrics.PSNR):
    """Stands for a figure that needs weights: how far apart all is that it was given of the two sides."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[bool, list[torch.Tensor]] = {True: [], False: []}

    def update(self, frames, truth=None, *, generated=None):
        if generated is None:
            self.given[True].append(frames)
            self.given[False].append(truth)
        else:
            self.given[generated].append(frames)

    def compute(self):
        pairs = zip(self.given[True], self.given[False], strict=True)
        return torch.stack([(one - other).abs().sum() for one, other in pairs]).sum()


@pytest.mark.paper("MMGT-23")
def test_figures_of_the_face_look_at_the_face_alone(portrait, finder):
    frames = portrait[None].repeat(6, 1, 1, 1)
    inside, outside = frames.clone(), frames.clone()
    left, top, right, bottom = face_box(finder(frames[:1]), 320 / 256)
    row, column = round(128 * (top + bottom)), round(160 * (left + right))
    inside[..., row - 8 : row + 8, column - 8 : column + 8] = 0
    outside[..., -40:, :40] = 255 - outside[..., -40:, :40]
    networks = pretrained.Pretrained({})
    assert networks.figures["face_psnr"].title == "PSNR, face"
    changed = {}
    for name, generated in (("same", frames), ("inside", inside), ("outside", outside)):
        meters = networks.meters()
        meters |= {f"face_{figure}": Distance() for figure in ("lpips", "fid", "fvd", "kvd", "fid_i3d")}
        networks.update(meters, generated, frames)
        of_faces = {figure: meters[f"face_{figure}"] for figure in pretrained.ON_FACES}
        changed[name] = {figure: float(getattr(one, "metric", one).compute()) for figure, one in of_faces.items()}
    assert changed["same"] == changed["outside"]
    assert all(changed["same"][figure] != changed["inside"][figure] for figure in pretrained.ON_FACES)
