"""The clip schema, the shards, and the batches made from them."""

from models.torchvision_cpu import install

install()
