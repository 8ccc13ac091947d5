"""What `trainers.evaluate` is made of: held-out clips, what is measured beside the model, figures and tables."""
