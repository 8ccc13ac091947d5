"""Pose sequences of any length."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from models.diffusion.chaining import seams, windows
from models.human.keypoints import POINTS
from models.human.motion_masks import motion_masks
from models.mmgt.generate import generate, generate_chunks, seam_statistics
from tests.models.small import statistics, tiny


def first_pose(seed: int = 0) -> torch.Tensor:
    return torch.rand(POINTS, 3, generator=torch.Generator().manual_seed(seed)) * 0.5 + 0.3


def speech(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(length, 35, generator=torch.Generator().manual_seed(seed))


def network(**options):
    output = tiny(sampling_steps=3, **options)
    output.set_statistics(statistics())
    return output


@pytest.mark.paper("MMGT-1")
def test_audio_and_one_pose_are_all_it_takes_to_get_poses_and_masks():
    poses = generate(network(), first_pose().numpy(), speech(9).numpy())
    assert poses.shape == (9, POINTS, 3)
    assert torch.isfinite(poses).all()
    masks = motion_masks(poses.numpy(), 32, 32)
    assert {name: mask.shape for name, mask in masks.items()} == {
        "face_hands": (9, 32, 32), "lips": (9, 32, 32), "background": (9, 32, 32)
    }  # fmt: skip


@pytest.mark.paper("MMGT-11")
@pytest.mark.parametrize("reference", ["first", "any"])
@pytest.mark.parametrize("predict", ["pose", "offset"])
@pytest.mark.parametrize("length", [1, 5, 12, 13, 50])
def test_any_length_is_generated_whole(length, predict, reference):
    poses = generate(network(predict=predict, reference=reference), first_pose(), speech(length))
    assert poses.shape == (length, POINTS, 3)
    assert torch.isfinite(poses).all()
    seen = poses[..., 2] > 0
    assert (poses[~seen] == torch.tensor([-1.0, -1.0, 0.0])).all()
    assert ((poses[..., 2] >= 0) & (poses[..., 2] <= 1)).all()


@pytest.mark.paper("MMGT-11")
def test_windows_cover_every_frame_and_share_the_overlap():
    for length in range(1, 300, 7):
        spans = windows(length, 80, 20)
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        for (_, end), (begin, after) in pairwise(spans):
            assert end - begin >= 20
            assert after > end
        assert all(end - begin == min(80, length) for begin, end in spans)
    assert seams(200, 80, 20) == [80, 140]


@pytest.mark.parametrize("overlap", [-1, 80, 200])
def test_impossible_overlaps_are_refused(overlap):
    with pytest.raises(ValueError, match="overlap"):
        windows(100, 80, overlap)


def test_a_seed_repeats_and_another_differs():
    net = network()
    a, b = generate(net, first_pose(), speech(30), seed=1), generate(net, first_pose(), speech(30), seed=1)
    assert torch.equal(a, b)
    assert not torch.equal(a, generate(net, first_pose(), speech(30), seed=2))


def test_a_batch_is_generated_side_by_side():
    net = network()
    pair = generate(net, torch.stack([first_pose(0), first_pose(1)]), torch.stack([speech(20, 0), speech(20, 1)]))
    assert pair.shape == (2, 20, POINTS, 3)
    torch.testing.assert_close(pair[0], generate(net, first_pose(0), speech(20, 0)), rtol=1e-3, atol=1e-4)


def test_what_was_generated_is_kept_by_the_next_window():
    """Frames of the overlap come out as the window before made them."""
    net = network(reference="any")
    start = generate(net, first_pose(), speech(50)[:12], overlap=6)
    whole = generate(net, first_pose(), speech(50), overlap=6)
    torch.testing.assert_close(whole[:12], start[:12], rtol=1e-4, atol=1e-4)


def test_pieces_come_as_they_are_final_and_give_the_whole():
    net = network()
    pieces = list(generate_chunks(net, first_pose(), speech(50)))
    assert [piece.shape[1] for piece in pieces[:3]] == [12, 9, 9]
    assert max(piece.shape[1] for piece in pieces) <= 12
    assert torch.equal(torch.cat(pieces, 1)[0], generate(net, first_pose(), speech(50)))


def test_the_network_stays_in_its_mode_and_draws_no_global_random_numbers():
    net = network().train()
    state = torch.get_rng_state()
    a, b = generate(net, first_pose(), speech(5)), generate(net, first_pose(), speech(5))
    assert net.training
    assert torch.equal(a, b), "dropout is off while generating"
    assert torch.equal(state, torch.get_rng_state())


def test_guidance_acts_and_without_audio_does_not():
    net = network()
    assert not torch.equal(
        generate(net, first_pose(), speech(5), guidance=1.0), generate(net, first_pose(), speech(5), guidance=3.0)
    )
    deaf = network(use_audio=False)
    assert torch.equal(
        generate(deaf, first_pose(), speech(5), guidance=1.0), generate(deaf, first_pose(), speech(5), guidance=3.0)
    )


@pytest.mark.parametrize(
    ("pose", "sound", "word"),
    [
        (torch.zeros(10, 3), torch.zeros(5, 35), "first_pose"),
        (torch.zeros(POINTS, 3), torch.zeros(5, 20), "speech"),
        (torch.zeros(2, POINTS, 3), torch.zeros(3, 5, 35), "speech"),
        (torch.zeros(POINTS, 3), torch.zeros(0, 35), "no frames"),
    ],
)
def test_shapes_that_do_not_fit_are_named(pose, sound, word):
    with pytest.raises(ValueError, match=word):
        generate(network(), pose, sound)


@pytest.mark.paper("IM-17")
def test_seam_statistics_find_a_jump_and_only_a_jump():
    path = np.cumsum(np.random.default_rng(0).normal(0, 0.01, (400, POINTS, 2)), 0)
    smooth = np.concatenate([path, np.ones((400, POINTS, 1))], -1)
    places = seams(400, 80, 20)
    fine = seam_statistics(smooth, places)
    assert fine["seams"] == len(places)
    assert fine["ratio"] == pytest.approx(1, abs=0.1)
    broken = smooth.copy()
    for place in places:
        broken[place:, :, 0] += 0.2
    bad = seam_statistics(broken, places)
    assert bad["ratio"] > 5
    assert bad["largest_at_seams"] > bad["percentile_99_9_inside"]
    assert bad["median_inside"] == pytest.approx(fine["median_inside"], rel=0.01)
    with pytest.raises(ValueError, match="seams"):
        seam_statistics(smooth, [])


@pytest.mark.paper("MMGT-11")
@pytest.mark.parametrize("overlap", [0, 3, 5])
@pytest.mark.parametrize("reference", ["first", "any"])
def test_a_windows_first_pose_is_the_frame_it_begins_at_or_the_pictures(reference, overlap, monkeypatch):
    """`first`: as in training, where it was the window's own first frame. `any`: always the picture's."""
    from models.mmgt import generate as module

    told, output, real = [], [], module._window

    def watched(network, reference, speech, noise, kept, *rest):
        told.append(reference)
        output.append(real(network, reference, speech, noise, kept, *rest))
        return output[-1]

    monkeypatch.setattr(module, "_window", watched)
    generate(network(reference=reference), first_pose(), speech(40), overlap=overlap)
    spans = windows(40, 12, overlap)
    assert len(told) == len(spans) > 3
    assert torch.equal(told[0][0], first_pose())
    for number in range(1, len(spans)):
        begin, shared = spans[number][0], spans[number - 1][1] - spans[number][0]
        if reference == "any":
            assert torch.equal(told[number], told[0])
        else:
            before = output[number - 1]
            frame = begin - spans[number - 1][0] if shared else -1  # without an overlap, the nearest frame there is
            assert torch.equal(told[number], before[:, frame])
            assert not torch.equal(before[:, frame], before[:, frame - 1])
