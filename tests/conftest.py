"""Also the process that hands tests to workers reads this: it may import Lightning for a warning's sake."""

import models  # noqa: F401 - lets torchvision be imported beside a CPU torch
