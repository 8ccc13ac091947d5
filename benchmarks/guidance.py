"""Guidance by classifiers: what SG and DG cost beside none, in network evaluations, gradients and seconds (PH-18).

    python -m benchmarks.guidance [--repeats 5] [--size 64] [--frames 32] [--quick]

One segment is sampled in 30 steps, of which the first 15 are guided (PH-17), with no guidance, sequential and
differential, in turn in one process; between them one evaluation of the network and one gradient of each classifier are
timed alone. The first turn warms up and is not counted; figures are medians. `against the parts` is the time of a
segment over that of its counted evaluations and gradients, each at its time alone in the same turn: what guidance costs
beside them. The network is of the tiny config's size, with classifier-free guidance for the speech (twice the rows) or
without.
Seeds are 0. Writes `benchmarks/results/guidance-DATE.json`.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from models.diffusion.guiders.regional import Judge, RegionalGuidance
from models.paha.classifier import PCEClassifier
from models.paha.generate import sampler_of
from models.paha.regions import region_mask
from models.paha.univdm import UniVDM, UniVDMInputs

STEPS: Final = 30
FACTOR: Final = 4
TINY: Final[dict[str, Any]] = {
    "channels": (48, 96, 96), "layers": 1, "head_channels": 12, "cross_channels": 64, "norm_groups": 8,
    "downscaling": FACTOR, "motion_heads": 4, "image_channels": 0, "audio_layers": 1, "audio_channels": 35,
    "audio_tokens": 4, "audio_width": 64, "predict": "v", "zero_terminal_snr": True,
}  # fmt: skip
CLASSIFIER: Final[dict[str, Any]] = {"width": 64, "depth": 2, "heads": 4}
PAPER_SECONDS: Final = {"none": 85, "sg": 98, "dg": 112}
"""Of a segment at 256 x 256, decoding and all included."""
BOX: Final = (0.3, 0.1, 0.7, 0.5)


class Segment:
    """One segment, and what guides it.

    Args:
        size: pixels of a side.
        frames: of the segment.
        free: whether the speech has classifier-free guidance.
    """

    def __init__(self, size: int, frames: int, free: bool):
        torch.manual_seed(0)
        self.network = UniVDM(**TINY, window=min(frames, 32)).eval().requires_grad_(False)
        side = size // FACTOR
        draw = torch.Generator().manual_seed(0)
        audio = torch.randn(1, frames, *self.network.audio_projection.shape, generator=draw)
        self.inputs = UniVDMInputs(torch.randn(1, 4, side, side, generator=draw), audio=audio)
        self.noise = torch.randn(1, 4, frames, side, side, generator=draw)
        self.weights = {"audio": 2.0 if free else 1.0}
        self.counts: Counter[str] = Counter()
        box = torch.tensor([BOX])
        self.masks = tuple(region_mask(box, side, side, region) for region in ("nonface", "face"))
        self.judges = [
            self._judge(PCEClassifier(univdm=TINY, **CLASSIFIER).eval().requires_grad_(False), mask)
            for mask in self.masks
        ]
        self.network.register_forward_hook(lambda *given: self.counts.update(["evaluations"]))

    def _judge(self, classifier: PCEClassifier, mask: Tensor) -> Judge:
        def judge(z: Tensor, levels: Tensor) -> Tensor:
            self.counts["gradients"] += 1
            return classifier.loss(z * mask, levels, self.inputs)

        return judge

    @torch.no_grad()
    def sample(self, guide: str, steps: int) -> Tensor:
        """Scaled latents."""
        sampler = sampler_of(self.network, self.inputs, steps, self.weights)
        if guide == "none":
            return sampler.run(self.noise)
        differential: Any = "residual" if guide == "dg" else "off"
        nonface, face = self.judges
        guided = RegionalGuidance(sampler, nonface, face, (self.masks[0], self.masks[1]), differential=differential)
        return guided.run(self.noise)

    @torch.no_grad()
    def evaluate(self) -> Tensor:
        """One step of the solver: one evaluation of the network."""
        sampler = sampler_of(self.network, self.inputs, STEPS, self.weights)
        return sampler.step(self.noise, sampler.levels[0])

    def gradient(self) -> None:
        """One of each classifier."""
        for judge in self.judges:
            asked = self.noise.detach().requires_grad_()
            torch.autograd.grad(judge(asked, torch.tensor([500])).sum(), asked)


def measure(size: int, frames: int, repeats: int, steps: int = STEPS, free: bool = False) -> dict[str, Any]:
    """Counts and seconds of each guide.

    Args:
        size: pixels of a side.
        frames: of the segment.
        repeats: turns that are counted, after one that warms up.
        steps: of sampling.
        free: with classifier-free guidance.
    """
    segment, guides = Segment(size, frames, free), ("none", "sg", "dg")
    seconds: dict[str, list[float]] = {}
    counts: dict[str, dict[str, int]] = {}
    for turn in range(repeats + 1):
        for name in (*guides, "evaluation", "gradients of both"):
            segment.counts.clear()
            calls: dict[str, Callable[[], Any]] = {
                "evaluation": segment.evaluate,
                "gradients of both": segment.gradient,
            }
            repeated = 1 if name in guides else 5  # short ones several times
            started = time.perf_counter()
            for _ in range(repeated):
                calls.get(name, lambda name=name: segment.sample(name, steps))()
            taken = (time.perf_counter() - started) / repeated
            if turn:
                seconds.setdefault(name, []).append(taken)
            if name in guides:
                counts[name] = {kind: segment.counts[kind] for kind in ("evaluations", "gradients")}
    rows = {}
    for name in guides:
        parts = [
            counts[name]["evaluations"] * evaluation + counts[name]["gradients"] * both / 2
            for evaluation, both in zip(seconds["evaluation"], seconds["gradients of both"], strict=True)
        ]
        ratios = [taken / part for taken, part in zip(seconds[name], parts, strict=True)]
        to_none = [taken / plain for taken, plain in zip(seconds[name], seconds["none"], strict=True)]
        rows[name] = {
            **counts[name],
            "seconds": statistics.median(seconds[name]),
            "against the parts": statistics.median(ratios),
            "against none": statistics.median(to_none),
            "the paper's against none": PAPER_SECONDS[name] / PAPER_SECONDS["none"],
        }
    alone = {name: statistics.median(seconds[name]) for name in ("evaluation", "gradients of both")}
    return {"guides": rows, "seconds alone": alone}


def main() -> None:
    """The command."""
    parser = Parser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="turns that are counted")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side of square frames")
    parser.add_argument("--frames", type=int, default=32, help="of the segment")
    parser.add_argument("--quick", action="store_true", help="one turn, nothing written")
    words = parser.parse_args()
    found = {}
    for title, free in (("without classifier-free guidance", False), ("with", True)):
        found[title] = measure(words.size, words.frames, 1 if words.quick else words.repeats, free=free)
        print(title, found[title], flush=True)
    if not words.quick:
        about = {"machine": describe(), "size": words.size, "frames": words.frames, "steps": STEPS}
        print(write_result("guidance", {**about, "parts": found}))


if __name__ == "__main__":
    main()
