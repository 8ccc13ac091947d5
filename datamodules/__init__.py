"""The clip schema, the shards, and the batches made from them."""

from settings.torchvision_cpu import install

install()
