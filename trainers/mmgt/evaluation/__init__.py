"""Gestures from speech, measured beside what needs no network."""
