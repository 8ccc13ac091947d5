"""Poses that the motion half makes of clips' speech, for videos that speech alone drives (VA-8, VA-10, VA-17)."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from datamodules.media.files import MediaError
from models.human.placing import How
from models.versa.token2pose import FPS
from settings import ConfigError, get_logger
from settings.device import device_of
from trainers.animation.driving import at_rate
from trainers.animation.fitting import SAID
from trainers.animation.hearing import layer_numbers, mean_layer
from trainers.evaluation.exchange import exchanged
from trainers.evaluation.talks import Talk
from trainers.run.exports import find_export
from trainers.versa.body import BodyMotion
from trainers.versa.system import VersaVideoFigureOptions

logger = get_logger(__name__)

STAGE: Final = "versa.audio_motion"
NO_BANK: Final = "no_bank"
"""The row whose poses are projected from the motion's joints, without token2pose."""


class MadePoses:
    """The networks that make poses, by the row that they are for.

    Args:
        options: of the measuring.
        size: height and width of the frames; None is each clip's own.

    Attributes:
        guessed: clips by row whose poses did not come onto the person by lengths that both show, and how they came.

    Raises:
        ConfigError: no such networks.
    """

    def __init__(self, options: VersaVideoFigureOptions, size: tuple[int, int] | None):
        self.options, self.size = options, size
        self.guessed: dict[str, dict[str, How]] = {}
        self.bodies = {"model": self._body("motion", str(options.motion), options.bank)}
        if options.bank is not None:
            self.bodies[NO_BANK] = self._body("motion", str(options.motion), None)
        self.bodies |= {name: self._body(f"motions.{name}", run, options.bank) for name, run in options.motions.items()}

    def of(self, talks: Sequence[Talk], rows: Sequence[str]) -> dict[tuple[str, int], list[np.ndarray]]:
        """Poses (T, 134, 3) of every clip, by row and seed; in "shuffled_audio" those of another one's speech."""
        made = {}
        for row in (row for row in (*self.bodies, "shuffled_audio") if row in rows):
            body = self.bodies.get(row, self.bodies["model"])
            own = [self._heard(body, talk) for talk in talks]
            for seed in self.options.seeds:
                heard = exchanged(own, seed) if row == "shuffled_audio" else own
                made[row, seed] = [
                    self._poses(row, body, talk, features, seed + 1000 * number)
                    for number, (talk, features) in enumerate(zip(talks, heard, strict=True))
                ]
        self._tell(talks)
        return made

    @property
    def used(self) -> dict[str, Mapping[str, str]]:
        """SHA-256 of the networks, by row."""
        return {row: body.networks for row, body in self.bodies.items()}

    def _tell(self, talks: Sequence[Talk]) -> None:
        """Warn of clips whose poses did not come onto the person by lengths that both show."""
        for row, clips in self.guessed.items():
            for how, said in SAID.items():
                some = [talk.info.id for talk in talks if clips.get(talk.info.id) == how]
                if some:
                    logger.warning("%s, in %d of %d clips (%s): %s", row, len(some), len(talks), some[0], said)

    def _body(self, option: str, run: str, bank: str | None) -> BodyMotion:
        export = find_export(run)
        if export.stage != STAGE:
            raise ConfigError(f"{option}={run} is a network of {export.stage}; one of {STAGE} is needed")
        body = BodyMotion(export, device_of(self.options.device))
        body.use(self.options.tokenizer, bank)
        return body

    def _heard(self, body: BodyMotion, talk: Talk) -> np.ndarray:
        if body.listens_to_layers:
            return mean_layer(talk.speech, layer_numbers(body.export.settings), talk.info.id)
        assert talk.sound is not None
        return body.hearing(True, None)(talk.sound)

    def _poses(self, row: str, body: BodyMotion, talk: Talk, features: np.ndarray, seed: int) -> np.ndarray:
        size = self.size or (talk.info.height, talk.info.width)
        seconds = talk.frames / talk.info.fps
        try:
            made, how = body.poses(None, features, seconds, talk.pose[0], size, seed=seed)
        except MediaError as error:
            raise ConfigError(f"{talk.info.id}: {error}; leave such clips out, or take another drive") from None
        if how is not None and how in SAID:
            self.guessed.setdefault(row, {})[talk.info.id] = how
        return at_rate(made, FPS, talk.info.fps, talk.frames)
