"""Where figures go: metrics.csv, TensorBoard and W&B, and how they are called there."""
