"""Talking people with known truth, made without any download. Start with `python -m preprocessing.synthetic --help`."""
