"""Which windows a rank and a worker read, and when: a function of seed and epoch alone."""
