"""The token2pose bank: real snippets, the cheapest way through them, blending, projection where there are none."""

import pytest
import torch

from models.human.body import OFFSETS, forward_kinematics
from models.human.keypoints import LEFT_SHOULDER, NECK, POINTS, RIGHT_SHOULDER
from models.human.projection import project_joints
from models.human.retarget import BONES, lengths_of, retarget, target_of
from models.human.rotations import axis_angle_to_matrix
from models.versa.seams import cheapest_way, seam_costs
from models.versa.token2pose import CONTEXT, PoseBank, Template

FRAMES = 5


def waving(tokens: int, seed: int = 0, speed: float = 1.0) -> torch.Tensor:
    """Joints (T, 22, 3) at 25 fps of somebody who moves both arms."""
    g = torch.Generator().manual_seed(seed)
    times = torch.arange(tokens * FRAMES) / 25 * speed
    angles = torch.zeros(len(times), 22, 3)
    for joint in (16, 17, 18, 19, 12, 3):
        phase, rate, size = torch.rand(3, 3, generator=g).unbind(0)
        angles[:, joint] = (0.3 + 0.7 * size) * torch.sin(6.28 * (times[:, None] * (0.3 + rate) + phase))
    return forward_kinematics(axis_angle_to_matrix(angles), torch.tensor([0.0, 0.95, 0.0]))


def template(
    tokens: torch.Tensor, seed: int = 0, scale: float = 300.0, at: tuple[float, float] = (400, 900)
) -> Template:
    keypoints, scores = project_joints(waving(len(tokens), seed))
    keypoints = torch.where((scores > 0)[..., None], keypoints * scale + torch.tensor(at), -1.0)
    return Template(tokens, keypoints, scores)


def quantised(seed: int, codes: int = 24, tokens: int = 40) -> Template:
    """A template whose tokens say roughly where the wrists are, as a tokenizer's do."""
    some = template(torch.zeros(tokens, dtype=torch.int64), seed)
    wrists = some.keypoints[2::FRAMES, [4, 7]] / 300
    words = (wrists * 3).round().long().flatten(1)
    code = (words * torch.tensor([1, 7, 49, 343])).sum(1) % codes
    return some._replace(tokens=code)


@pytest.fixture(scope="module")
def bank() -> PoseBank:
    return PoseBank.build([quantised(seed) for seed in range(8)], codes=24, frames=FRAMES)


@pytest.mark.paper("VA-10")
def test_a_template_s_own_tokens_give_back_its_own_poses(bank):
    """Whole clips are joined at no cost, so the real sequence is found again, in widths of the shoulders."""
    some = quantised(3)
    whole = PoseBank.build([quantised(seed) for seed in range(8)], codes=24, frames=FRAMES, most=1000)
    output = whole.look_up(some.tokens, candidates=1000)
    assert output.seam_cost == 0
    wide = (some.keypoints[:, LEFT_SHOULDER] - some.keypoints[:, RIGHT_SHOULDER]).norm(dim=-1).quantile(0.95)
    there = some.scores > 0
    expected = (some.keypoints - some.keypoints[:, NECK].mean(0)) / wide
    torch.testing.assert_close(output.keypoints[there], expected[there], atol=1e-4, rtol=0)
    assert (output.keypoints[~there] == -1).all()
    assert (output.scores[~there] == 0).all()


@pytest.mark.paper("VA-10")
def test_every_token_gets_a_snippet_of_its_own_kind(bank):
    tokens = quantised(20).tokens
    tokens = tokens[bank.known[tokens]]
    output = bank.look_up(tokens)
    assert torch.equal(bank.tokens[output.snippets], tokens)
    assert output.keypoints.shape == (len(tokens) * FRAMES, POINTS, 2)


@pytest.mark.paper("VA-10")
def test_the_way_through_costs_less_than_first_candidates_and_moves_more_evenly(bank):
    """On token sequences of movements that the bank has never seen."""
    better = []
    for seed in range(30, 36):
        some = quantised(seed)
        tokens = some.tokens[bank.known[some.tokens]]
        best, first = bank.look_up(tokens), bank.look_up(tokens, candidates=1, blend=False)
        assert best.seam_cost <= 0.7 * first.seam_cost

        def jerks(poses):
            return poses.keypoints[:, :18].diff(n=2, dim=0).norm(dim=-1).mean()

        better.append(float(jerks(best) / jerks(first)))
    assert sum(better) / len(better) < 0.6


def test_the_cheapest_way_is_the_cheapest_of_all():
    g = torch.Generator().manual_seed(0)
    costs = [torch.rand(3, 4, generator=g), torch.rand(4, 2, generator=g), torch.rand(2, 3, generator=g)]
    ways = torch.cartesian_prod(torch.arange(3), torch.arange(4), torch.arange(2), torch.arange(3))
    totals = sum(cost[ways[:, i], ways[:, i + 1]] for i, cost in enumerate(costs))
    way, total = cheapest_way(costs, 3)
    assert total == pytest.approx(float(totals.min()))
    assert way == ways[totals.argmin()].tolist()
    assert cheapest_way([], 3) == ([0], 0.0)


def test_seam_costs_are_mean_squares_over_points_that_both_have():
    g = torch.Generator().manual_seed(0)
    shape = (FRAMES + 2 * CONTEXT, POINTS)
    before, after = torch.rand(2, *shape, 2, generator=g), torch.rand(3, *shape, 2, generator=g)
    seen_before, seen_after = (torch.rand(n, *shape, generator=g) > 0.4 for n in (2, 3))
    costs = seam_costs(before, seen_before.float(), after, seen_after.float(), CONTEXT)
    weights = torch.zeros(POINTS)
    weights[:18], weights[92:134] = 1, 4 / 21
    weights[[4, 7]] = 2
    for k in range(2):
        for j in range(3):
            both = (seen_before[k, -4:] & seen_after[j, :4]) * weights
            squares = (before[k, -4:] - after[j, :4]).square().sum(-1)
            assert float(costs[k, j]) == pytest.approx(float((both * squares).sum() / both.sum()), rel=1e-4)


@pytest.mark.paper("VA-10")
def test_a_token_without_a_snippet_is_projected(bank):
    known = bank.tokens[0].item()
    missing = next(code for code in range(24) if code not in bank.tokens.tolist()) if not bank.known.all() else None
    if missing is None:
        bank = PoseBank.build([template(torch.full((8,), known))], codes=24, frames=FRAMES)
        missing = (known + 1) % 24
    tokens = torch.tensor([known, missing, missing, known])
    with pytest.raises(ValueError, match=f"token {missing} has no snippet"):
        bank.look_up(tokens)
    joints = waving(4, seed=50)
    at_20 = joints[torch.arange(0, 20, 1.25).round().long()]
    output = bank.look_up(tokens, at_20)
    assert (output.snippets < 0).tolist() == [False, True, True, False]
    assert torch.equal(bank.tokens[output.snippets[[0, 3]]], tokens[[0, 3]])
    wide = (joints[:, 16] - joints[:, 17])[:, :2].norm(dim=-1).quantile(0.95)
    expected = torch.stack([joints[..., 20, 0], -joints[..., 20, 1]], -1)[7:13]  # left wrist, away from the seams
    home = torch.stack([joints[:, 12, 0], -joints[:, 12, 1]], -1).mean(0)
    torch.testing.assert_close(output.keypoints[7:13, 7], (expected - home) / wide, atol=0.12, rtol=0)


def test_a_saved_bank_is_the_same_bank(bank, tmp_path):
    bank.save_pretrained(tmp_path / "bank")
    repeated = PoseBank.from_pretrained(tmp_path / "bank")
    tokens = quantised(21).tokens
    tokens = tokens[bank.known[tokens]]
    assert torch.equal(repeated.look_up(tokens).keypoints, bank.look_up(tokens).keypoints)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (torch.zeros(0, dtype=torch.int64), "N from 1 on"),
        (torch.tensor([99]), "from 0 to 23"),
        (torch.tensor([-1]), "to 23"),
    ],
)
def test_tokens_that_are_none_are_refused(bank, tokens, words):
    with pytest.raises(ValueError, match=words):
        bank.look_up(tokens)


def test_templates_without_shoulders_are_passed_over():
    some = template(torch.zeros(6, dtype=torch.int64))
    blind = some._replace(scores=torch.zeros_like(some.scores))
    assert len(PoseBank.build([blind, some], codes=4).tokens) == 6
    with pytest.raises(ValueError, match="bank would be empty"):
        PoseBank.build([blind], codes=4)
    with pytest.raises(ValueError, match="from 0 to 3"):
        PoseBank.build([some._replace(tokens=some.tokens + 7)], codes=4)


def person(scale: float = 1.3, arms: float = 1.2) -> torch.Tensor:
    offsets = OFFSETS * scale
    offsets[18:22] *= arms
    return offsets


@pytest.mark.paper("VA-10")
def test_bones_become_as_long_as_the_person_s(bank):
    """Longest projected lengths, 95th percentiles over frames, within 2 % of the target's."""
    tokens = quantised(22).tokens
    poses = bank.look_up(tokens[bank.known[tokens]])
    angles = torch.zeros(1, 22, 3)
    other, seen = project_joints(forward_kinematics(axis_angle_to_matrix(angles), torch.zeros(3), person()))
    target = target_of(other[0] * 200, seen[0], lengths_of(poses.keypoints, poses.scores))
    output = retarget(poses.keypoints, poses.scores, target, neck=torch.tensor([320.0, 200.0]))
    have, want = lengths_of(output, poses.scores).bones, target.bones
    known = have.isfinite()
    assert known.sum() == len(BONES)
    assert ((have - want).abs() / want)[known].max() < 0.02
    neck = output[:, NECK].mean(0)
    torch.testing.assert_close(neck, torch.tensor([320.0, 200.0]), atol=0.01, rtol=0)
    directions = [
        (p[:, 4] - p[:, 3]) / (p[:, 4] - p[:, 3]).norm(dim=-1, keepdim=True) for p in (output, poses.keypoints)
    ]
    torch.testing.assert_close(*directions, atol=1e-3, rtol=0)  # gestures stay what they are


def test_a_bone_that_points_at_the_camera_takes_its_length_from_the_rest():
    angles = torch.zeros(1, 22, 3)
    straight, seen = project_joints(forward_kinematics(axis_angle_to_matrix(angles), torch.zeros(3), person(arms=1.0)))
    angles[0, 16] = angles[0, 17] = torch.tensor([0.0, 1.4, 0.0])
    angles[0, 17, 1] *= -1
    reaching, _ = project_joints(forward_kinematics(axis_angle_to_matrix(angles), torch.zeros(3), person(arms=1.0)))
    like = lengths_of(*project_joints(forward_kinematics(axis_angle_to_matrix(0 * angles), torch.zeros(3))))
    whole, short = (target_of(pose[0], seen[0], like).bones for pose in (straight, reaching))
    assert lengths_of(reaching, seen).bones[1] < 0.5 * whole[1]
    torch.testing.assert_close(short, whole, rtol=0.05, atol=0)


def test_a_half_length_picture_keeps_the_proportions_of_the_rest():
    keypoints, scores = project_joints(waving(4))
    like = lengths_of(keypoints, scores)
    half = scores[0].clone()
    half[8:14] = half[18:24] = 0  # hips and below
    target = target_of(keypoints[0] * 2, half, like)
    torch.testing.assert_close(target.bones[6:12], 2 * like.bones[6:12], rtol=0.1, atol=0)
    with pytest.raises(ValueError, match="shows no bone"):
        target_of(keypoints[0], torch.zeros(POINTS), like)


def test_what_is_missing_stays_missing():
    keypoints, scores = project_joints(waving(4))
    like = lengths_of(keypoints, scores)
    scores[5, 4] = 0
    output = retarget(keypoints, scores, like)
    assert (output[5, 4] == -1).all()
    assert (output[:, 92:] == -1).all()
