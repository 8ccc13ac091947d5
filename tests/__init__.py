"""Tests. The first import lets torchvision be imported beside a CPU torch, whatever a test imports next."""

import models  # noqa: F401
