"""The video half of VersaAnimator: poses, a face and speech to frames, by Stable Video Diffusion's networks."""
