"""Latent video: the stage of its autoencoder, which all systems of the family share."""
