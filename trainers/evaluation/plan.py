"""How is measured; the fields are `trainers.evaluate`'s arguments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """What an evaluator is told.

    Attributes:
        shards: folder or URL of the clips.
        splits: which splits; None takes what is held out.
        seeds: of the noise.
        steps, guidance: of sampling; None is the network's own.
        clips: at most so many of a split; None is all.
        seconds: only the first of each clip; None is all.
        batch: clips, or frames, made at once.
        neighbours: training windows that the nearest-neighbour baseline looks through.
        evaluator: a trained pose autoencoder; None trains one.
        evaluator_config: how that one is trained.
        weights: files of pretrained networks that some figures need, by the figure's network.
        beside: other runs of the stage to put into the same table, by the name that they get there.
        device: cpu, cuda, or auto.
    """

    shards: str
    splits: list[str] | None
    seeds: list[int]
    steps: int | None
    guidance: float | None
    clips: int | None
    seconds: float | None
    batch: int
    neighbours: int
    evaluator: str | None = None
    evaluator_config: Path | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
