"""CLIP's text network, as stages that read texts with it account for it."""

from functools import lru_cache

from models.versa.text import clip_text
from pretrained.hashes import tensors_hash


@lru_cache(maxsize=2)
def clip_hash(model: str) -> str:
    """SHA-256 of the tensors of a CLIP text network, by its folder or hub name.

    Raises:
        ValueError: it cannot be loaded; the message says where to get it.
    """
    return tensors_hash(clip_text(model).network)
