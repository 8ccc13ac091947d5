"""How is measured; the fields are `trainers.evaluate`'s arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from settings.progress import Progress


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
        videos: render and measure videos where that is not what the stage makes.
        beside: other runs of the stage to put into the same table, by the name that they get there.
        tokenizer: the motion tokenizer of a network of versa; None takes the one that its run says.
        systems: what is measured, by the names of the rows; None is everything.
        device: cpu, cuda, or auto.
        progress: told what is done and what is to come, in clips made.
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
    videos: bool = False
    beside: Mapping[str, str] = field(default_factory=dict)
    tokenizer: str | None = None
    systems: Sequence[str] | None = None
    device: str = "auto"
    progress: Progress = field(default_factory=lambda: Progress("measuring"), compare=False)

    def wants(self, system: str) -> bool:
        """Whether a row of the table is asked for."""
        return self.systems is None or system in self.systems
