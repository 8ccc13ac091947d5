"""The clip schema, the shards, and the batches made from them."""
