"""The stages of MMGT."""
