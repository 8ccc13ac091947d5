"""Options that evaluators share: each stage's own are made of these."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from settings.progress import Progress
from settings.ranges import Count, NonNegative, Positive, Seed

GIVEN: Final = ("shards", "systems", "progress")
"""Fields that the commands give: no keys of theirs."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What every evaluator takes.

    Args:
        shards: folder or URL of the clips.
        splits: which splits are measured, each on its own; left out, test and test_unseen, and where there is neither,
            val, or (saying so) train.
        seeds: of the noise and of which speech is exchanged; figures are means over these.
        clips: at most so many clips of a split, taken evenly; none is all.
        seconds: only the first seconds of each clip; none is all.
        batch: clips generated at once.
        device: cpu, cuda, or auto.
        systems: what is measured, by the names of the rows; None is everything.
        progress: told what is done and what is to come, in clips made.
    """

    shards: str
    splits: list[str] | None = None
    seeds: list[Seed] = field(default_factory=lambda: [0, 1, 2])
    clips: Count | None = 24
    seconds: Positive | None = 8.0
    batch: Count = 32
    device: str = "auto"
    systems: Sequence[str] | None = None
    progress: Progress = field(default_factory=lambda: Progress("measuring"), compare=False)

    def wants(self, system: str) -> bool:
        """Whether a row of the table is asked for."""
        return self.systems is None or system in self.systems


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """How is sampled.

    Args:
        steps: denoising steps; left out, the network's own (50 unless its config says otherwise).
        guidance: weight of classifier-free guidance, 1 is none; left out, the network's own (2).
    """

    steps: Count | None = None
    guidance: NonNegative | None = None


@dataclass(frozen=True, kw_only=True)
class ByNetwork:
    """Figures that live in the features of another network.

    Args:
        evaluator: a trained network that others are measured by (run folder, export or hub name):
            human.pose_autoencoder for FGD and Diversity, versa.evaluator for R-precision and FID of motion; left out,
            one is trained on the same shards and kept in the output folder.
        evaluator_config: how that one is trained; left out, its tiny.yaml in configs/.
    """

    evaluator: str | None = None
    evaluator_config: Path | None = None


@dataclass(frozen=True, kw_only=True)
class OfVideos:
    """Figures of videos.

    Args:
        weights: files of pretrained networks for figures of videos: {alexnet: LPIPS, inception: FID, i3d: FVD, KVD and
            FID on I3D, arcface: CSIM, deep3d: E-FID, syncnet: Sync-D and Sync-C (latent video)}; figures without one
            are left out and named.
    """

    weights: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Other runs in the same table.

    Args:
        beside: other runs of the stage for the same table, such as ablations: {name: run}.
    """

    beside: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """What a baseline looks through.

    Args:
        neighbours: training windows, or clips, that a baseline is made from.
    """

    neighbours: Count = 2000
