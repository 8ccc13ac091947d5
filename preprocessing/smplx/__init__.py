"""SMPL-X bodies fitted to the 2D key points of a clip."""
