"""Implicit motion with Mamba diffusion (IM-1 to IM-20): picture and speech to pixels."""

from models.implicit_motion.base import ImplicitMotion

__all__ = ["ImplicitMotion"]
