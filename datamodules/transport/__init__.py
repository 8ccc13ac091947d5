"""How batches come from the workers to the training process."""
