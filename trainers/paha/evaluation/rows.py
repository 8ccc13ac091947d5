"""The rows of UniVDM's table, and what is noted of each video as it is made: its cost, what classifiers think of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from models.paha.generate import UniVDMSource
from models.paha.regions import Region
from trainers.evaluation.exchange import exchanged
from trainers.evaluation.per_clip import mean_over_clips
from trainers.evaluation.talks import Talk
from trainers.evaluation.video_rows import Answer, plain_answers
from trainers.evaluation.videos import Shot
from trainers.paha.evaluation import cost
from trainers.paha.evaluation.scores import RISES, SCORES, Jury
from trainers.paha.evaluation.video_model import UniVDMModel
from trainers.paha.system import Guide, UniVDMFigureOptions

_TIMES = ("segment_seconds", "sampling_seconds")


class Rows:
    """The rows of one split.

    Args:
        models: by the names of their rows; "model" is the one that is measured, others stand beside it.
        options: of the measuring.
        talks: the clips.
        jury: is asked about all videos whose latents it knows.
    """

    def __init__(
        self, models: Mapping[str, UniVDMModel], options: UniVDMFigureOptions, talks: Sequence[Talk], jury: Jury
    ):
        self.models, self.options, self.talks, self.jury = models, options, talks, jury
        self.heard = {name: [model.hear(talk) for talk in talks] for name, model in models.items()}
        self.others: dict[int, list[np.ndarray]] = {}
        self.costs: dict[tuple[str, int], dict[int, dict[str, float]]] = {}
        self.scores: dict[tuple[str, int], dict[int, dict[Region, float]]] = {}

    def answers(self) -> dict[str, Answer]:
        """Every row that is asked for, by its name."""
        model, options = self.models["model"], self.options
        rows = {name: self._generated(name, one) for name, one in self.models.items()}
        for guide in options.rows():
            rows[guide] = self._generated(guide, model, guide)
        rows["shuffled_audio"] = self._generated("shuffled_audio", model)
        rows |= plain_answers(model.latents, options.batch, model.seams)
        rows["truth"] = replace(rows["truth"], frames=self._truth)
        # No guidance comes first: others are held against it.
        return {name: row for name, row in rows.items() if name in options.beside or options.wants(name)}

    def figures(self, row: str, seed: int) -> dict[str, float]:
        """What was noted of a row, as figures."""
        found: dict[str, float] = {}
        if costs := self.costs.get((row, seed)):
            for name in cost.FIGURES:
                found[name] = mean_over_clips([costs[number][name] for number in sorted(costs)])
        scores, plain = self.scores.get((row, seed)), self.scores.get(("model", seed))
        if scores:
            numbers = sorted(scores)
            for region, name in SCORES.items():
                if region in scores[numbers[0]]:
                    found[name] = mean_over_clips([scores[number][region] for number in numbers])
                    if plain and row in ("sg", "dg"):
                        rises = [float(scores[number][region] > plain[number][region]) for number in numbers]
                        found[RISES[region]] = mean_over_clips(rises)
        return {name: value for name, value in found.items() if value == value}

    def _generated(self, row: str, model: UniVDMModel, guide: Guide = "none") -> Answer:
        """A network's videos, of each clip's own speech, or, in the row "shuffled_audio", of another one's."""
        own = self.heard[row if row in self.models else "model"]

        def frames(number: int, shot: Shot, seed: int) -> Tensor:
            talk, heard = self.talks[number], own
            if row == "shuffled_audio":
                if seed not in self.others:
                    self.others[seed] = exchanged(own, seed)
                heard = self.others[seed]
            source = model.source(shot.frames[0], talk, heard[number])
            box = None if guide == "none" else model.face(talk, source)
            size = (shot.frames.shape[2], shot.frames.shape[3])
            # Another noise for each clip, the same for each guide.
            made = model.generate(source, size, seed + 1000 * number, guide, box)
            self._note(row, seed, number, made.cost)
            if model.network.autoencoder == self.models["model"].network.autoencoder:
                self._judge(row, seed, number, made.latents, shot)
            return made.frames

        return Answer(frames, chance=True, seams=model.seams)

    def _truth(self, number: int, shot: Shot, seed: int) -> Tensor:
        if self.jury.classifiers:
            self._judge("truth", seed, number, self.models["model"].encoded(shot.frames), shot)
        return shot.frames

    def _note(self, row: str, seed: int, number: int, costs: dict[str, float]) -> None:
        noted = self.costs.setdefault((row, seed), {})
        if not noted and seed == self.options.seeds[0] and len(self.talks) > 1:
            # The first video warms the machine up.
            costs = costs | dict.fromkeys(_TIMES, float("nan"))
        noted[number] = costs

    def _judge(self, row: str, seed: int, number: int, latents: Tensor, shot: Shot) -> None:
        """Ask the jury how well latents suit the clip's own speech, whatever they were made of."""
        if not self.jury.classifiers:
            return
        model, talk = self.models["model"], self.talks[number]
        source: UniVDMSource = model.source(shot.frames[0], talk, self.heard["model"][number])
        found = self.jury.of(latents, source, model.face(talk, source), number)
        self.scores.setdefault((row, seed), {})[number] = found
