"""Frames and sound of a video file: where they are, what they are, and which are taken."""
