"""PAHA: its stages."""
