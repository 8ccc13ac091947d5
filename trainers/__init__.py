"""The Lightning side and every command: `fit`, `animate`, `evaluate`, `report`."""

from models.torchvision_cpu import install

install()
