"""Diffusion as parts that snap together: noise, preconditioning, weighting, samplers, guiders, conditions.

A network gives an output for a noisy sample and its noise level; `preconditioning` says which x0 that means. All that
follows is about x0: a guider puts the x0 of several conditions together, a sampler takes a step with it. The levels of
`noise.ddpm` are timesteps, those of `noise.edm` are sigma; either way x = signal x0 + sigma noise.
"""
