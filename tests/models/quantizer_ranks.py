"""One process of several that train a codebook together: `python -m tests.models.quantizer_ranks RANK RANKS FOLDER`."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from models.layers.vector_quantizer import VectorQuantizer

CODES, WIDTH, STEPS, LENGTH = 12, 5, 9, 6
SAMPLES = 4  # of a step, shared out over the processes


def step_of(number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, mask and chances of all samples of a step; clusters wander, so that codes fall out of use."""
    g = torch.Generator().manual_seed(number)
    centres = 3 * torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(number // 3))
    chosen = torch.randint(0, 4, (SAMPLES, LENGTH), generator=g)
    latents = centres[chosen] + 0.2 * torch.randn(SAMPLES, LENGTH, WIDTH, generator=g)
    mask = (torch.arange(LENGTH) < torch.tensor([6, 1, 4, 2])[:, None]).float()
    return latents, mask, torch.rand(SAMPLES, LENGTH, generator=g)


def train(rank: int, ranks: int) -> tuple[dict[str, torch.Tensor], list[int]]:
    """The codebook and its averages after all steps, and how many codes were reset at each."""
    torch.manual_seed(0)
    quantizer, resets = VectorQuantizer(CODES, WIDTH, decay=0.7, reset_below=0.3), []
    for number in range(STEPS):
        torch.manual_seed(100 * rank + number)  # the global random numbers differ
        share = slice(rank * SAMPLES // ranks, (rank + 1) * SAMPLES // ranks)
        latents, mask, chances = (each[share] for each in step_of(number))
        quantizer(latents, mask, chances)
        quantizer.update()
        resets.append(quantizer.resets)
    return quantizer.state_dict(), resets


def main(rank: int, ranks: int, folder: Path) -> None:
    """Train, and keep what came of it."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=ranks)
    torch.save(train(rank, ranks), folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
