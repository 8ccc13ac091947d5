"""What trained networks make of clips, added to shards: one writer by name for each key (contract: `writer.py`)."""
