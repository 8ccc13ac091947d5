"""What a training costs before it is started: memory per GPU by part, time of a step, and how it scales."""
