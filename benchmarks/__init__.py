"""What measures speed, memory and scaling. The first import lets torchvision be imported beside a CPU torch."""

import models  # noqa: F401
