"""Synthetic text and motion: named actions, captions and speech gestures whose truth is known."""
