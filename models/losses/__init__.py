"""Losses that more than one stage uses."""
