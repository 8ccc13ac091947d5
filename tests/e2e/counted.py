"""`python -m tests.e2e.counted key=value ...`: the training command, whose ranks write down what they hold.

`stage=counted` is `mmgt.smga`, `stage=counted_gan` the toy stage with two optimisers.
"""

import sys

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

if __name__ == "__main__":
    from trainers.fit import main

    sys.exit(main())
