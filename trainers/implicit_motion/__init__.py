"""Stages of implicit motion: `base`, then `motion`."""
