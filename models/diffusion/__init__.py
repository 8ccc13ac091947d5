"""Diffusion as parts that snap together: schedule, parameterisation, weighting, sampler, guider."""
