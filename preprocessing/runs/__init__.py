"""Work that can be stopped at any time: jobs, processes, shards written whole, what was done and dropped."""
