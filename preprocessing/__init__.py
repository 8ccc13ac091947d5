"""Videos in, shards out: decode, cut, pose, face, speech, filter, write. Start with `python -m preprocessing.run --help`."""
