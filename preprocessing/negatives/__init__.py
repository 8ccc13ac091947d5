"""Pairs of a filmed and a generated clip (PH-11)."""
