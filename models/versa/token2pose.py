"""The token2pose bank: motion tokens to real 2D pose sequences (VA-10)."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from models.human.keypoints import LEFT_SHOULDER, NECK, POINTS, RIGHT_SHOULDER
from models.human.projection import project_joints
from models.human.resampling import resample_joints
from models.saved import SavedNetwork
from models.versa.seams import cheapest_way, seam_costs

FPS: Final = 25.0
CONTEXT: Final = 2  # frames that a snippet holds beyond either end
_UNIT_SHARE: Final = 0.95


class Template(NamedTuple):
    """A clip of which both motion tokens and 2D poses are known.

    Attributes:
        tokens: (N,) int64.
        keypoints: (T, 134, 2) at 25 fps, in any unit with square pixels.
        scores: (T, 134).
    """

    tokens: Tensor
    keypoints: Tensor
    scores: Tensor


class Poses(NamedTuple):
    """2D poses that a bank gives.

    Attributes:
        keypoints: (T, 134, 2) at 25 fps, in widths of the shoulders from the neck's usual place, y down; (-1, -1) where
            missing.
        scores: (T, 134), 0 where missing.
        snippets: (N,) which snippet stands for each token; -1 where it was projected from the decoded motion.
        seam_cost: mean over seams of what the way through the snippets costs.
    """

    keypoints: Tensor
    scores: Tensor
    snippets: Tensor
    seam_cost: float


class PoseBank(nn.Module, SavedNetwork, library_name="cospeech", tags=["versa.token2pose"], license="other"):
    """Real 2D pose snippets by the motion token that they came from (VA-10).

    A snippet is what a person did in the frames of one token, and two frames before and after, by which it is joined to
    others. Poses are normalised: in widths of the shoulders, from where the neck usually is in its clip. A sequence of
    tokens becomes the sequence of snippets of least total seam cost, found by dynamic programming over several
    candidates a token; snippets that followed one another in their clip join at no cost. Where snippets meet they
    are blended over four frames. A token without a snippet falls back to the decoded motion, projected.

    Args:
        codes: entries of the tokenizer's codebook.
        frames: of a token at 25 fps.
        snippets: how many the bank holds.
        tokenizer: what the tokens are of, for the record: SHA-256 of its weights.
    """

    poses: Tensor
    scores: Tensor
    tokens: Tensor
    places: Tensor

    def __init__(self, *, codes: int = 512, frames: int = 5, snippets: int = 0, tokenizer: str = ""):
        super().__init__()
        if frames < 2 * CONTEXT:
            raise ValueError(f"a token has to be at least {2 * CONTEXT} frames long, got {frames}")
        self.codes, self.frames, self.tokenizer = codes, frames, tokenizer
        self._rows: dict[tuple[int, int], int] = {}
        length = frames + 2 * CONTEXT
        self.register_buffer("poses", torch.zeros(snippets, length, POINTS, 2))
        self.register_buffer("scores", torch.zeros(snippets, length, POINTS))
        self.register_buffer("tokens", torch.zeros(snippets, dtype=torch.int64))
        self.register_buffer("places", torch.zeros(snippets, 2, dtype=torch.int64))  # clip, and which token of it

    @classmethod
    def build(
        cls, templates: Iterable[Template], *, codes: int = 512, frames: int = 5, most: int = 64, tokenizer: str = ""
    ) -> "PoseBank":
        """Cut templates into snippets.

        Args:
            templates: clips; one without visible shoulders is passed over, since nothing tells its size.
            codes, frames, tokenizer: as the constructor's.
            most: snippets kept of a token, spread evenly over those there are.

        Raises:
            ValueError: tokens that are none of the codebook, or nothing usable.
        """
        found: dict[int, list[tuple[Tensor, Tensor, tuple[int, int]]]] = {}
        for clip, template in enumerate(templates):
            unit = size_of(template.keypoints, template.scores)
            if unit is None:
                continue
            keypoints = normalised(template.keypoints, template.scores, *unit)
            count = min(len(template.tokens), len(keypoints) // frames)
            if count and not 0 <= int(template.tokens.min()) <= int(template.tokens.max()) < codes:
                raise ValueError(f"tokens are from 0 to {codes - 1}; clip {clip} has others")
            for place in range(count):
                times = torch.arange(place * frames - CONTEXT, (place + 1) * frames + CONTEXT)
                inside = (times >= 0) & (times < len(keypoints))
                times = times.clamp(0, len(keypoints) - 1)
                scores = template.scores[times] * inside[:, None]  # beyond the clip nothing is known
                found.setdefault(int(template.tokens[place]), []).append((keypoints[times], scores, (clip, place)))
        if not found:
            raise ValueError("no template has a token with visible shoulders, so the bank would be empty")
        kept = []
        for token in sorted(found):
            every = max(1.0, len(found[token]) / most)
            kept += [(token, *found[token][int(i * every)]) for i in range(min(most, len(found[token])))]
        bank = cls(codes=codes, frames=frames, snippets=len(kept), tokenizer=tokenizer)
        for row, (token, poses, scores, place) in enumerate(kept):
            bank.poses[row], bank.scores[row], bank.tokens[row] = poses, scores, token
            bank.places[row] = torch.tensor(place)
        return bank

    @property
    def known(self) -> Tensor:
        """(codes,) bool: which tokens have snippets."""
        known = torch.zeros(self.codes, dtype=torch.bool)
        known[self.tokens.cpu()] = True
        return known

    @torch.no_grad()
    def look_up(
        self, tokens: Tensor, joints: Tensor | None = None, *, candidates: int = 32, blend: bool = True
    ) -> Poses:
        """Poses of a token sequence.

        Args:
            tokens: (N,) int64.
            joints: (T, 22, 3) of the decoded motion at 20 fps, for tokens without a snippet.
            candidates: snippets tried for each token; 1 takes the first.
            blend: whether snippets are blended where they meet.

        Raises:
            ValueError: no token, none of the codebook's, or one without a snippet and no joints to project.
        """
        if tokens.ndim != 1 or not len(tokens):
            raise ValueError(f"tokens are (N,) with N from 1 on, got {tuple(tokens.shape)}")
        if not 0 <= int(tokens.min()) <= int(tokens.max()) < self.codes:
            raise ValueError(f"tokens are from 0 to {self.codes - 1}, got {int(tokens.min())} to {int(tokens.max())}")
        fallback = None
        if not self.known[tokens].all():
            if joints is None:
                missing = int(tokens[~self.known[tokens]][0])
                raise ValueError(f"token {missing} has no snippet, and there are no joints of the motion to project")
            fallback = self._projected(joints, len(tokens))
        choices = [self._candidates(tokens, place, candidates) for place in range(len(tokens))]
        pieces = [self._pieces(choice, fallback, place) for place, choice in enumerate(choices)]
        costs = [self._costs(choices, pieces, place) for place in range(1, len(tokens))]
        way, total = cheapest_way(costs, len(choices[0]))
        chosen = [choice[step] for choice, step in zip(choices, way, strict=True)]
        rows = torch.stack(chosen)
        picked = [(poses[step], scores[step]) for (poses, scores), step in zip(pieces, way, strict=True)]
        keypoints, scores = self._joined(picked, rows, blend)
        return Poses(keypoints, scores, rows, total / max(1, len(tokens) - 1))

    def _candidates(self, tokens: Tensor, place: int, most: int) -> Tensor:
        """Rows of the bank for a token, those first that stood between the same neighbours; (1,) of -1 where none."""
        rows = torch.nonzero(self.tokens == tokens[place])[:, 0]
        if not len(rows):
            return torch.tensor([-1])
        if len(rows) <= most or most == 1:
            return rows[:most]
        alike = torch.zeros(len(rows))
        for step in (-1, 1):
            if 0 <= place + step < len(tokens) and len(self.tokens) > 1:
                alike += self._neighbours(rows, step) == tokens[place + step]
        return rows[torch.argsort(alike, descending=True, stable=True)[:most]]

    def _neighbours(self, rows: Tensor, step: int) -> Tensor:
        """Token that stood before (-1) or after (1) each snippet in its clip; -1 where the bank does not hold it."""
        if len(self._rows) != len(self.places):
            self._rows = {(clip, place): row for row, (clip, place) in enumerate(self.places.tolist())}
        found = [self._rows.get((clip, place + step), -1) for clip, place in self.places[rows].tolist()]
        return torch.tensor([int(self.tokens[row]) if row >= 0 else -1 for row in found])

    def _pieces(self, rows: Tensor, fallback: tuple[Tensor, Tensor] | None, place: int) -> tuple[Tensor, Tensor]:
        """Poses (K, L, 134, 2) and scores (K, L, 134) of candidates, two frames beyond either end included."""
        if int(rows[0]) >= 0:
            return self.poses[rows], self.scores[rows]
        assert fallback is not None
        times = slice(place * self.frames, (place + 1) * self.frames + 2 * CONTEXT)
        return fallback[0][None, times], fallback[1][None, times]

    def _costs(self, choices: list[Tensor], pieces: list[tuple[Tensor, Tensor]], place: int) -> Tensor:
        """(K before, K) seam costs from the candidates before to those of a token; 0 where they were neighbours."""
        before, after = choices[place - 1], choices[place]
        costs = seam_costs(*pieces[place - 1], *pieces[place], CONTEXT)
        if int(before[0]) >= 0 and int(after[0]) >= 0:
            followed = self.places[before][:, None] + torch.tensor([0, 1]) == self.places[after][None]
            costs = torch.where(followed.all(-1), 0.0, costs)
        elif int(before[0]) < 0 and int(after[0]) < 0:
            costs = torch.zeros_like(costs)
        return costs

    def _projected(self, joints: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The motion as poses of the bank's kind, (count frames + 2 CONTEXT, 134, ...)."""
        wanted = count * self.frames
        keypoints, scores = project_joints(resample_joints(joints, 20, FPS, wanted))
        unit = size_of(keypoints, scores)
        assert unit is not None
        times = torch.arange(-CONTEXT, wanted + CONTEXT).clamp(0, wanted - 1)
        return normalised(keypoints, scores, *unit)[times], scores[times]

    def _joined(self, pieces: list[tuple[Tensor, Tensor]], rows: Tensor, blend: bool) -> tuple[Tensor, Tensor]:
        """Poses one after the other, each cross-faded into the next over the frames that both hold."""
        frames, length = self.frames, self.frames * len(pieces)
        total = torch.zeros(length + 2 * CONTEXT, POINTS, 2)
        weight = torch.zeros(length + 2 * CONTEXT, POINTS)
        scores = torch.zeros(length + 2 * CONTEXT, POINTS)
        for place, (poses, piece_scores) in enumerate(pieces):
            share = torch.ones(frames + 2 * CONTEXT)
            span = torch.arange(2 * CONTEXT)
            rise = (span + 0.5) / (2 * CONTEXT) if blend else span // CONTEXT
            share[: 2 * CONTEXT], share[-2 * CONTEXT :] = rise, 1 - rise
            part = slice(place * frames, (place + 1) * frames + 2 * CONTEXT)
            worth = share[:, None] * (piece_scores > 0)
            total[part] += worth[..., None] * poses
            weight[part] += worth
            scores[part] += worth * piece_scores
        inside = slice(CONTEXT, CONTEXT + length)
        total, weight, scores = total[inside], weight[inside], scores[inside]
        there = weight > 0
        keypoints = torch.where(there[..., None], total / weight.clamp(min=1e-6)[..., None], -1.0)
        return keypoints, torch.where(there, (scores / weight.clamp(min=1e-6)).clamp(max=1), 0.0)


def normalised(keypoints: Tensor, scores: Tensor, unit: Tensor, home: Tensor) -> Tensor:
    """Key points (T, 134, 2) in widths of the shoulders from `home`; (-1, -1) where missing."""
    return torch.where((scores > 0)[..., None], (keypoints - home) / unit, -1.0)


def size_of(keypoints: Tensor, scores: Tensor) -> tuple[Tensor, Tensor] | None:
    """A clip's longest width of the shoulders (95th percentile) and the mean place of its neck; None without them."""
    visible = (scores[:, [LEFT_SHOULDER, RIGHT_SHOULDER, NECK]] > 0).all(1)
    if not visible.any():
        return None
    wide = (keypoints[visible, LEFT_SHOULDER] - keypoints[visible, RIGHT_SHOULDER]).norm(dim=-1).quantile(_UNIT_SHARE)
    return (wide, keypoints[visible, NECK].mean(0)) if wide > 0 else None
