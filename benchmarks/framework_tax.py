"""Framework tax: a step of `trainers.fit` with its default callbacks over a bare PyTorch loop of the same model, batch.

    python -m benchmarks.framework_tax [--blocks 16] [--quick]

Blocks of training steps and blocks of bare steps (forward, backward, optimiser step on a twin network) take turns in
one process, so that both meet the same weather; a training block is timed from the first batch asked for to the last
hook, with one row of figures in each; the first block warms up and is not counted. The tax is the median over pairs
of neighbouring blocks. Limits: 1.03 for steps of 200 ms and more, 3 ms for shorter ones. Wall time decides; processor
time stands beside it, since on a busy machine wall time measures the neighbours. Writes
`benchmarks/results/framework-tax-DATE.json`.
"""

import statistics
import tempfile
import time
from typing import Any

import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader, IterableDataset

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from benchmarks.training import train
from datamodules.batch import Batch
from trainers.mmgt.smga import SMGAStage
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stages import DATAMODULES, STAGES

# Name to the options of the stage, windows of a batch, and training steps in a block.
SMALL = {"width": 32, "layers": 1, "heads": 2, "feedforward": 32, "audio_layers": 1, "window": 8}
TINY = {"width": 128, "layers": 2, "heads": 4, "feedforward": 256, "audio_layers": 1, "window": 80}
PAPER = {"width": 512, "layers": 2, "heads": 8, "feedforward": 1024, "audio_layers": 2, "window": 80}
CASES: dict[str, tuple[dict[str, int], int, int]] = {
    "smallest SMGA": (SMALL, 1, 50),
    "tiny SMGA": (TINY, 8, 20),
    "paper SMGA, 2 of 8 layers": (PAPER, 8, 8),
}


class OneBatch(L.LightningDataModule):
    """The same random batch again and again.

    Args:
        size: windows of the batch.
        window: frames of a window.
        channels: of a pretrained model's speech features; 0 is none.
    """

    def __init__(self, keys: tuple[str, ...], *, size: int = 4, window: int = 80, channels: int = 0):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.batch = Batch(
            ids=[f"clip-{i}@0" for i in range(size)],
            starts=torch.zeros(size, dtype=torch.long),
            fps=25.0,
            pose=torch.rand(size, window, 134, 3, generator=draw),
            speech=torch.randn(size, window, 35, generator=draw),
            speech_layers=torch.randn(size, 1, 2 * window, channels, generator=draw) if channels else None,
        )
        self.statistics = {
            "pose": {"mean": [[0.5, 0.5]] * 134, "std": [[0.2, 0.2]] * 134},
            "pose_motion": {"std": [[0.1, 0.1]] * 134},
            "handcrafted": {"mean": [0.0] * 35, "std": [1.0] * 35},
            "clips": 1,
            "frames": 1000,
        }

    def train_dataloader(self) -> DataLoader:
        return DataLoader(Endless(self.batch), batch_size=None)


class Endless(IterableDataset):
    """One item without end."""

    def __init__(self, item: Any):
        self.item = item

    def __iter__(self) -> Any:
        while True:
            yield self.item


class Taxed:
    """Beside a stage: times blocks of its own steps against a bare loop over a twin, which `make_twin` gives."""

    latest: Any

    def watch(self, block: int) -> None:
        """Begin to note blocks of so many steps."""
        self.block = block
        self.fit_blocks: list[Seconds] = []
        self.bare_blocks: list[Seconds] = []
        Taxed.latest = self

    def make_twin(self) -> Any:
        """The same stage, outside of any trainer."""
        raise NotImplementedError(f"{type(self).__name__} needs make_twin")

    def on_train_start(self) -> None:
        """Make the twin."""
        twin = self.make_twin().train()
        twin.load_state_dict(self.state_dict())  # type: ignore[attr-defined]
        twin.log = twin.log_dict = lambda *args, **kwargs: None  # a bare loop logs nothing
        trained = [parameter for parameter in twin.parameters() if parameter.requires_grad]
        optimizer = OPTIMIZERS.build(self.optimizer_options)(trained)  # type: ignore[attr-defined]
        self.twin = (twin, optimizer)  # in a tuple, so that it is no part of this module
        self.began = _now()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Between two blocks of training: a block of bare steps."""
        if batch_idx % self.block:
            return
        if batch_idx > self.block:  # the first block warms up
            self.fit_blocks.append(_since(self.began, self.block))
        bare = self._bare(batch)
        if batch_idx > self.block:
            self.bare_blocks.append(bare)
        self.began = _now()

    def _bare(self, batch: Batch) -> "Seconds":
        twin, optimizer = self.twin
        start = _now()
        for step in range(self.block):
            loss = twin.training_step(batch, step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return _since(start, self.block)


class TaxedStage(Taxed, SMGAStage):
    """SMGA that times itself.

    Args:
        width: channels.
        layers: layers.
        heads: attention heads.
        feedforward: hidden channels of feed-forwards.
        audio_layers: layers of the audio encoder.
        window: frames.
        block: steps in a block.
    """

    def __init__(
        self, *, width: int, layers: int, heads: int, feedforward: int, audio_layers: int, window: int, block: int
    ):
        self.options = {"width": width, "layers": layers, "heads": heads, "feedforward": feedforward}
        self.options |= {"audio_layers": audio_layers, "window": window}
        super().__init__(network=self.options)
        self.watch(block)

    def make_twin(self) -> SMGAStage:
        """See `Taxed`."""
        return SMGAStage(network=self.options)


Seconds = tuple[float, float]  # wall, processor


def _now() -> Seconds:
    return time.perf_counter(), time.process_time()


def _since(start: Seconds, steps: int) -> Seconds:
    wall, processor = _now()
    return (wall - start[0]) / steps, (processor - start[1]) / steps


def _tax(ours: list[float], bare: list[float]) -> dict[str, float]:
    return {
        "bare ms": 1000 * statistics.median(bare),
        "fit ms": 1000 * statistics.median(ours),
        "ratio": statistics.median(a / b for a, b in zip(ours, bare, strict=True)),
        "extra ms": 1000 * statistics.median(a - b for a, b in zip(ours, bare, strict=True)),
    }


def measure(name: str, blocks: int) -> dict[str, Any]:
    """Milliseconds a step of both, and the tax, of one case."""
    options, size, block = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        train(
            "stage=taxed", f"stage.block={block}", *(f"stage.{name}={value}" for name, value in options.items()),
            "data=one batch", f"data.size={size}", f"data.window={options['window']}",
            f"trainer.max_steps={block * (blocks + 2)}", "trainer.accelerator=cpu",
            f"trainer.log_every_n_steps={block}", "trainer.limit_val_batches=0",
            "checkpoint.every_n_steps=1000000000", f"run={folder}/run",
        )  # fmt: skip
    stage = Taxed.latest
    return {
        "model": name,
        "parameters": sum(p.numel() for p in stage.network.parameters()),
        "batch": size,
        **taxes(stage),
    }


def taxes(stage: Taxed) -> dict[str, Any]:
    """What the blocks that a stage noted come to."""
    wall, processor = (
        _tax([block[i] for block in stage.fit_blocks], [block[i] for block in stage.bare_blocks]) for i in (0, 1)
    )
    long = wall["bare ms"] >= 200
    return {
        "pairs of blocks": len(stage.fit_blocks),
        "steps in a block": stage.block,
        **wall,
        "limit": "ratio 1.03" if long else "extra 3 ms",
        "held": wall["ratio"] <= 1.03 if long else wall["extra ms"] <= 3,
        "processor": processor,
    }


def main() -> None:
    """The command."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=16, help="pairs of blocks for each model")
    parser.add_argument("--quick", action="store_true", help="two pairs of blocks, nothing written")
    words = parser.parse_args()
    STAGES.add("taxed", TaxedStage)
    DATAMODULES.add("one batch", OneBatch)
    rows = [measure(name, 2 if words.quick else words.blocks) for name in CASES]
    for row in rows:
        print(row)
    if not words.quick:
        print(write_result("framework-tax", {"machine": describe(), "rows": rows}))


if __name__ == "__main__":
    main()
