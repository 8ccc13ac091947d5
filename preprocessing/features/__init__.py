"""Features of trained networks, added to shards."""
