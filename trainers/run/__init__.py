"""The run folder: what it holds, its checkpoints and exports, how a run goes on and how it ends."""
