"""The Lightning side and every command: `fit`, `animate`, `evaluate`, `report`."""

import cospeech.checked  # noqa: F401 - first of all
from settings.torchvision_cpu import install

install()
