"""What latent video shares: latents of frames."""
