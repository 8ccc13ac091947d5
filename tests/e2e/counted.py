"""Stages whose ranks write down what they hold: `counted` is `mmgt.smga`, `counted_gan` the toy with two optimisers."""

from tests.trainers.toy import ToyGAN
from trainers.mmgt.smga import SMGAStage
from trainers.planning.count import HeldBytes
from trainers.stages import STAGES


class CountedSMGA(SMGAStage):
    """SMGA whose ranks count."""

    def configure_callbacks(self) -> list[HeldBytes]:
        return [HeldBytes()]


class CountedGAN(ToyGAN):
    """The toy stage with two optimisers, whose ranks count."""

    def configure_callbacks(self) -> list[HeldBytes]:
        return [HeldBytes()]


STAGES.add("counted", CountedSMGA)
STAGES.add("counted_gan", CountedGAN)
