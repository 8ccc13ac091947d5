"""What it costs to go from one pose snippet to another, and the cheapest way through many (VA-10)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.human.keypoints import BODY, LEFT_HAND, POINTS, RIGHT_HAND


def _weights() -> Tensor:
    """(134,) how much each point counts: arms and hands are what is looked at."""
    weights = torch.zeros(POINTS)
    weights[BODY] = 1.0
    weights[[4, 7]] = 2.0  # wrists
    weights[LEFT_HAND] = weights[RIGHT_HAND] = 4 / 21
    return weights


def seam_costs(poses: Tensor, scores: Tensor, next_poses: Tensor, next_scores: Tensor, context: int) -> Tensor:
    """Mean squared distance of what two snippets hold of the frames around the place where they meet.

    A snippet ends `context` frames before its last, the next begins `context` frames behind its first: over
    2 x `context` frames both say where the points are, and so how they move.

    Args:
        poses: (K, L, 134, 2) snippets before.
        scores: (K, L, 134), 0 where a point is missing.
        next_poses: (J, L', 134, 2) snippets after.
        next_scores: (J, L', 134).
        context: frames beyond either end.

    Returns:
        (K, J), over points that both have; where they have none in common, the largest of the others (or 1).
    """
    span = 2 * context
    weights = _weights().to(poses)

    def parts(values: Tensor, part_scores: Tensor) -> tuple[Tensor, Tensor]:
        there = (part_scores > 0).to(values) * weights.sqrt()  # each side carries half of the weight
        return values * there[..., None], there

    tail, tail_there = parts(poses[:, -span:], scores[:, -span:])
    head, head_there = parts(next_poses[:, :span], next_scores[:, :span])
    both = tail_there.flatten(1) @ head_there.flatten(1).T
    # sum of w (a - b)^2 over points that both have, as three products
    squares = (tail.square().sum(-1) / weights.sqrt().clamp(min=1e-6)).flatten(1) @ head_there.flatten(1).T
    squares = squares + tail_there.flatten(1) @ (head.square().sum(-1) / weights.sqrt().clamp(min=1e-6)).flatten(1).T
    costs = (squares - 2 * tail.flatten(1) @ head.flatten(1).T).clamp(min=0) / both.clamp(min=1e-6)
    known = both > 0
    worst = costs[known].max() if known.any() else costs.new_tensor(1.0)
    return torch.where(known, costs, worst)


def cheapest_way(costs: Sequence[Tensor], first: int) -> tuple[list[int], float]:
    """The way of least total cost through layers of candidates, by dynamic programming.

    Args:
        costs: for each layer but the first (K of the layer before, K of this one).
        first: candidates of the first layer.

    Returns:
        Which candidate to take in each layer, and the total.
    """
    total = torch.zeros(first)
    back: list[Tensor] = []
    for cost in costs:
        total, best = (total[:, None] + cost).min(0)
        back.append(best)
    step = int(total.argmin())
    least = float(total[step])
    way = [step]
    for best in reversed(back):
        step = int(best[step])
        way.append(step)
    return way[::-1], least
