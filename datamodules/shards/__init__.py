"""Shards as they lie on a disk or far away: index, cache, members, and clips that cannot be read."""
