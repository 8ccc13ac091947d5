"""Before anything else: torchvision can be imported beside a CPU torch."""

import models  # noqa: F401
