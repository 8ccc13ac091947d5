"""The rows of a table of VersaAnimator's videos, and who is held against whom in which figure (VA-17)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from trainers.evaluation.body_figures import held
from trainers.evaluation.comparison import Figure, verdict
from trainers.evaluation.exchange import exchanged
from trainers.evaluation.talks import Talk
from trainers.evaluation.video_rows import Answer, plain_answers
from trainers.evaluation.videos import Shot
from trainers.versa.evaluation.made_poses import NO_BANK, MadePoses
from trainers.versa.evaluation.video_model import Driving, VersaVideoModel, shown_of
from trainers.versa.system import VersaVideoFigureOptions

LABELS: Final = {
    "model": "this model",
    NO_BANK: "without token2pose",
    "shuffled_audio": "shuffled audio",
    "shuffled_blink": "shuffled eyes",
    "source": "copied source frame",
    "reconstruction": "autoencoder's own (ceiling)",
    "truth": "truth",
}
DECIDING: Final[Mapping[str, tuple[str, ...]]] = {
    "psnr_mouth_hands": ("shuffled_blink", NO_BANK),
    "psnr_hands_arms": ("shuffled_audio", "shuffled_blink"),
    "lip_correlation": ("shuffled_blink", NO_BANK),
    "eye_correlation": ("shuffled_audio", NO_BANK),
}
"""Figures in which the model is held against other rows, and the rows that are no rivals there: they are told alike."""
LIKENESS: Final = ("likeness", "csim_head", "csim_half", "csim_whole")
"""Figures in which it is held against other networks alone: a copied source is as like itself as can be."""
_BOUNDS: Final = ("reconstruction", "truth")


class Rows:
    """The rows of one split.

    Args:
        models: by the names of their rows; "model" is the one that is measured, others stand beside it.
        options: of the measuring.
        talks: the clips.
        made: what makes poses of speech; None where true poses drive, or none.
    """

    def __init__(
        self,
        models: Mapping[str, VersaVideoModel],
        options: VersaVideoFigureOptions,
        talks: Sequence[Talk],
        made: MadePoses | None,
    ):
        self.models, self.options, self.talks = models, options, talks
        names = [name for name in (*models, *options.motions, *LABELS) if name in models or self._wanted(name)]
        self.made = {} if made is None else made.of(talks, names)
        self.heard = {name: [one.hear(talk) for talk in talks] for name, one in models.items() if one.listens}
        self.shown = [shown_of(talk) for talk in talks] if any(one.looks for one in models.values()) else []
        self._others: dict[tuple[str, int], list[np.ndarray]] = {}

    def answers(self) -> dict[str, Answer]:
        """Every row that is asked for, by its name."""
        model = self.models["model"]
        rows = {name: self._generated(name, one) for name, one in self.models.items()}
        if model.listens or self.made:
            rows["shuffled_audio"] = self._generated("shuffled_audio", model)
        if model.looks:
            rows["shuffled_blink"] = self._generated("shuffled_blink", model)
        for name in (NO_BANK, *self.options.motions):
            if any(row == name for row, _ in self.made):
                rows[name] = self._generated(name, model)
        rows |= plain_answers(model.latents, self.options.batch, model.seams)
        return {name: row for name, row in rows.items() if name in self.options.beside or self._wanted(name)}

    def followed(self, row: str, seed: int, number: int, shot: Shot) -> Tensor:
        """Poses (T, 134, 3) of the person in a row's video of a clip."""
        assert shot.pose is not None
        if row == "source":
            return held(shot.pose)
        if row in _BOUNDS:
            return shot.pose
        name = row if (row, seed) in self.made else "model"
        if (name, seed) in self.made:
            return torch.from_numpy(self.made[name, seed][number])
        return held(shot.pose) if self.models["model"].drive == "speech_only" else shot.pose

    def _wanted(self, name: str) -> bool:
        return self.options.wants(name) or name in self.options.motions

    def _generated(self, row: str, model: VersaVideoModel) -> Answer:
        """A network's videos, driven by each clip's own, but for what the row exchanges."""
        name = row if row in self.models else "model"

        def frames(number: int, shot: Shot, seed: int) -> Tensor:
            talk = self.talks[number]
            poses = None if model.drive == "speech_only" else talk.pose
            if self.made:
                poses = self.made[row if (row, seed) in self.made else "model", seed][number]
            features = self.heard.get(name)
            if features is not None and row == "shuffled_audio":
                features = self._exchanged("audio", features, seed)
            label, blink = self.shown[number] if model.looks else (None, None)
            if row == "shuffled_blink":
                blink = self._exchanged("blink", [other for _, other in self.shown], seed)[number]
            driving = Driving(poses, None if features is None else features[number], label, blink)
            # Another noise for each clip.
            return model.generate(shot.frames[0], talk, driving, seed + 1000 * number)

        return Answer(frames, chance=True, seams=model.seams)

    def _exchanged(self, what: str, own: Sequence[np.ndarray], seed: int) -> list[np.ndarray]:
        if (what, seed) not in self._others:
            self._others[what, seed] = exchanged(own, seed)
        return self._others[what, seed]


def verdicts_of(
    part: Mapping[str, Any], about: Mapping[str, Figure], labels: Mapping[str, str], networks: Sequence[str]
) -> dict[str, Any]:
    """Who wins in which figure.

    Args:
        part: what `described` gives of a split.
        about: title and meaning of each figure.
        labels: of the rows.
        networks: rows of other networks, which stand beside the model.
    """
    systems, found = part["systems"], {}
    if "model" not in systems:
        return {}
    for name, alike in DECIDING.items():
        rivals = {row: own for row, own in systems.items() if row not in (*_BOUNDS, *alike)}
        if name in systems["model"]:
            found[name] = verdict(rivals, name, about[name], labels, part["clips"])
    rivals = {row: systems[row] for row in ("model", *networks) if row in systems}
    for name in LIKENESS:
        if name in systems["model"] and len(rivals) > 1:
            found[name] = verdict(rivals, name, about[name], labels, part["clips"])
    return found
