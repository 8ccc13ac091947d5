"""Videos in, shards out: decode, cut, pose, face, speech, filter, write; see `python -m preprocessing.run --help`."""

from models.torchvision_cpu import install

install()
