"""What latent video shares: latents of frames, conditions, UNets and what stands in their slots."""
