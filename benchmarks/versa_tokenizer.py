"""A training step of the motion tokenizer at the paper's sizes, against a plain one of torch's own modules.

    python -m benchmarks.versa_tokenizer [--batch 16] [--repeats 9] [--threads 2] [--precision 32|bf16] [--cpu]

`ours` is the stage's step: `MotionTokenizer`, its loss with joints, backward, clipping, AdamW, codebook. `plain` is
the same stack of `nn.Conv1d` in `nn.Sequential`, `torch.cdist` and argmin, averages of the codebook by one-hot
products, smooth L1 and commitment, backward, clipping, AdamW: no masks, no lengths, no joints, no resets, no float32
under bf16. `ours, lengths` has windows of several lengths. Two steps of each warm up, uncounted; then they take turns
in every repeat; a ratio is the median over the repeats of ours / plain. Windows of 64 frames of random numbers; the
load of the machine is recorded. Writes `benchmarks/results/versa_tokenizer-DATE.json`.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from datamodules.transport.memory import keep_freed_memory
from models.human.motion import SIZE
from models.versa import MotionTokenizer
from models.versa.tokenizer_loss import tokenizer_loss

FRAMES = 64
DECAY, BETA = 0.99, 0.02


class Residual(nn.Sequential):
    """A block with a way around it."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Plain(nn.Module):
    """The tokenizer without anything around it."""

    def __init__(self, codes: int, code_width: int, width: int, depth: int, growth: int):
        super().__init__()

        def stretch() -> list[nn.Module]:
            return [
                Residual(
                    nn.ReLU(), nn.Conv1d(width, width, 3, padding=growth**i, dilation=growth**i),
                    nn.ReLU(), nn.Conv1d(width, width, 1),
                )
                for i in reversed(range(depth))
            ]  # fmt: skip

        def shorter() -> list[nn.Module]:
            return [nn.Conv1d(width, width, 4, 2, 1), *stretch()]

        def longer() -> list[nn.Module]:
            return [*stretch(), nn.Upsample(scale_factor=2), nn.Conv1d(width, width, 3, padding=1)]

        self.encoder = nn.Sequential(
            nn.Conv1d(SIZE, width, 3, padding=1), nn.ReLU(), *shorter(), *shorter(),
            nn.Conv1d(width, code_width, 3, padding=1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv1d(code_width, width, 3, padding=1), nn.ReLU(), *longer(), *longer(),
            nn.Conv1d(width, width, 3, padding=1), nn.ReLU(), nn.Conv1d(width, SIZE, 3, padding=1),
        )  # fmt: skip
        self.register_buffer("codebook", torch.randn(codes, code_width))
        self.register_buffer("sizes", torch.ones(codes))
        self.register_buffer("sums", self.codebook.clone())

    def forward(self, motion: Tensor) -> Tensor:
        """The loss of motion (B, T, 263)."""
        latents = self.encoder(motion.transpose(1, 2)).transpose(1, 2)
        flat = latents.flatten(0, 1)
        with torch.no_grad():
            tokens = torch.cdist(flat.float(), self.codebook).argmin(1)
            hot = F.one_hot(tokens, len(self.codebook)).float()
            self.sizes.lerp_(hot.sum(0), 1 - DECAY)
            self.sums.lerp_(hot.t() @ flat.float(), 1 - DECAY)
        codes = self.codebook[tokens].view_as(latents)
        self.codebook.copy_(self.sums / self.sizes.clamp(min=1e-6)[:, None])
        output = self.decoder((latents + (codes - latents).detach()).transpose(1, 2)).transpose(1, 2)
        return F.smooth_l1_loss(output.float(), motion) + BETA * F.mse_loss(latents.float(), codes.float())


def contenders(sizes: dict[str, int], batch: int, device: torch.device, half: bool) -> dict[str, Callable[[], Any]]:
    """A training step of each, by name."""
    torch.manual_seed(0)
    motion = torch.randn(batch, FRAMES, SIZE, device=device)
    lengths = torch.randint(FRAMES // 2, FRAMES + 1, (batch,), device=device)
    chances = torch.rand(batch, FRAMES // 4, device=device)

    def precision() -> Any:
        return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()

    def stepping(network: nn.Module, loss_of: Callable[[], Tensor], after: Callable[[], None]) -> Callable[[], None]:
        optimizer = torch.optim.AdamW(network.parameters(), 2e-4)

        def step() -> None:
            with precision():
                loss = loss_of()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            after()
            optimizer.step()

        return step

    def ours(lengths: Tensor | None) -> Callable[[], None]:
        network = MotionTokenizer(**sizes).to(device)
        return stepping(
            network,
            lambda: tokenizer_loss(network, network(motion, lengths, chances), beta=BETA)["loss"],
            network.quantizer.update,
        )

    plain = Plain(**sizes).to(device)
    return {
        "ours": ours(None),
        "plain": stepping(plain, lambda: plain(motion), lambda: None),
        "ours, lengths": ours(lengths),
    }


def seconds(step: Callable[[], Any], device: torch.device) -> float:
    """How long a step takes."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - started


def measure(sizes: dict[str, int], batch: int, repeats: int, device: torch.device, half: bool) -> dict[str, Any]:
    """Milliseconds of a step of each, and ours over plain."""
    steps = contenders(sizes, batch, device, half)
    for step in steps.values():
        step(), step()  # the first ones warm up
    rounds = [{name: seconds(step, device) for name, step in steps.items()} for _ in range(repeats)]
    return {
        "ms": {name: round(1000 * statistics.median(row[name] for row in rounds), 2) for name in steps},
        "over_plain": {
            name: round(statistics.median(row[name] / row["plain"] for row in rounds), 3)
            for name in steps
            if name != "plain"
        },
    }


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["32", "bf16"], default="32")
    parser.add_argument("--width", type=int, default=512, help="channels of convolutions and codes")
    parser.add_argument("--cpu", action="store_true", help="on the CPU even where there is a GPU")
    options = parser.parse_args(argv)
    device = torch.device("cpu" if options.cpu or not torch.cuda.is_available() else "cuda")
    torch.set_num_threads(options.threads)
    if device.type == "cpu":
        keep_freed_memory()
    machine = describe() | {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"}
    sizes = {"codes": 512, "code_width": options.width, "width": options.width, "depth": 3, "growth": 3}
    found = measure(sizes, options.batch, options.repeats, device, options.precision == "bf16")
    print(found)
    print(write_result("versa_tokenizer", {"machine": machine, "seed": 0, "options": vars(options), **found}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
