"""Head motion and frames, measured beside what needs no network."""
