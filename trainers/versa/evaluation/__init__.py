"""Tokens, and motion from text and speech, measured beside what needs no network."""
