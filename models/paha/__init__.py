"""PAHA: half-body people from speech and a picture, parts-aware."""
