"""How good UniVDM is, with guidance and without, and what its classifiers tell apart."""
