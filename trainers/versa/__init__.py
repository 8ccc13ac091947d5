"""Stages of VersaAnimator: `tokenizer`, then the two branches of its transformer."""
