"""MMGT: motion-mask guided two-stage co-speech gesture video."""

from models.mmgt.smga import SMGA

__all__ = ["SMGA"]
