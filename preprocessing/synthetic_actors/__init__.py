"""Synthetic actors: people who act as told and speak, in pixels, at head, half-body and whole-body scale."""
