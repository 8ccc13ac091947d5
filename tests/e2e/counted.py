"""Stages whose ranks write down what they hold; the toy with two optimisers, and SMGA."""

from tests.trainers.toy import ToyGAN
from trainers.mmgt.smga import SMGAStage
from trainers.planning.count import HeldBytes


class Counted:
    """Beside a stage: its ranks count."""

    def configure_callbacks(self) -> list[HeldBytes]:
        return [HeldBytes()]


class CountedSMGA(Counted, SMGAStage):
    """SMGA whose ranks count."""


class CountedGAN(Counted, ToyGAN):
    """The toy stage with two optimisers, whose ranks count."""
