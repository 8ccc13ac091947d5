"""Videos in, shards out: decode, cut, pose, face, speech, filter, write; see `python -m preprocessing.run --help`."""

import cospeech.checked  # noqa: F401 - first of all
from settings.torchvision_cpu import install

install()
