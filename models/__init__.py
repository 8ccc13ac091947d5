"""Networks, losses and diffusion parts: plain `torch.nn`, no Lightning, no command line."""

from settings.torchvision_cpu import install

install()
