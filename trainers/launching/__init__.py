"""What the launcher is made of: options, the snapshot of the code, the chain of jobs, their scripts."""
