"""What there is to preprocess: files, manifests and their rows."""
