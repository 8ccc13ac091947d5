"""How a run is spread over devices: Lightning strategies, what each rank holds, and checkpoints in pieces."""
