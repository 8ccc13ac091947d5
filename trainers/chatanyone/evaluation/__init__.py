"""Head motion, measured beside what needs no network."""
