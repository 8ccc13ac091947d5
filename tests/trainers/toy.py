"""A stage and data that train in milliseconds, for tests of what surrounds them.

`python -m tests.trainers.toy key=value ...` is the training command with both registered.
"""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import lightning.pytorch as L
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.utils.data import IterableDataset, get_worker_info
from torchdata.stateful_dataloader import StatefulDataLoader

from datamodules.batch import Batch
from settings import DEFAULTS, Choice, Section
from settings.ranges import Count, Decay
from trainers.stage.base import Stage, build_network
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES
from trainers.stages import DATAMODULES, STAGES

FRAMES = 4


class ToyNetwork(nn.Module, PyTorchModelHubMixin):
    """Two linear layers and dropout over (B, T, 134, 3).

    Args:
        width: inner channels.
        dropout: share of channels dropped.
    """

    mean: Tensor

    def __init__(self, *, width: Count = 8, dropout: Decay = 0.1):
        super().__init__()
        self.inner = nn.Linear(3, width)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(width, 3)
        self.register_buffer("mean", torch.zeros(1))

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        self.mean.fill_(statistics.get("mean", 0.5))

    def forward(self, pose: Tensor) -> Tensor:
        return self.outer(self.dropout(torch.tanh(self.inner(pose - self.mean))))


class ToyStage(Stage):
    """Learns to take noise off poses.

    Args:
        network: the network's own options.
        nan_at: batch of the epoch whose loss is NaN; -1 is none.
        explode_at: batch of the epoch whose loss is a million times too large; -1 is none.
        pause: seconds that a training step takes at least.
        val_pause: seconds that a validation step takes at least.
        terminate: send this process a SIGTERM at the end of the first validation.
        raise_at: batch of the epoch at which a rank raises; -1 is none.
        hang_at: batch of the epoch at which a rank waits for ever; -1 is none.
        rank: the rank that does.
        seen: folder in which every rank lists the samples that it trains on, a file a start.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.
    """

    needs: ClassVar[tuple[str, ...]] = ("pose.npz", "audio.flac")

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(ToyNetwork)] = DEFAULTS,
        nan_at: int = -1,
        explode_at: int = -1,
        pause: float = 0.0,
        val_pause: float = 0.0,
        terminate: bool = False,
        raise_at: int = -1,
        hang_at: int = -1,
        rank: int = 0,
        seen: Path | None = None,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adan",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = {"name": "warmup", "warmup_steps": 5},
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        self.network = build_network(ToyNetwork, network)
        self.nan_at, self.explode_at = nan_at, explode_at
        self.pause, self.val_pause, self.terminate = pause, val_pause, terminate
        self.raise_at, self.hang_at, self.rank, self.seen = raise_at, hang_at, rank, seen

    def _loss(self, batch: Batch) -> Tensor:
        draw = self.generator(batch)
        noise = draw.normal(*batch.pose.shape[1:])
        return nn.functional.mse_loss(self.network(batch.pose + 0.1 * noise), batch.pose)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        time.sleep(self.pause)
        if self.global_rank == self.rank and batch_index == self.raise_at:
            raise ValueError("this rank has had enough")
        if self.global_rank == self.rank and batch_index == self.hang_at:
            time.sleep(1000)
        if self.seen:
            self.seen.mkdir(exist_ok=True, parents=True)
            with open(self.seen / f"{os.getpid()}", "a") as file:
                file.writelines(f"{self.global_step} {sample}\n" for sample in batch.ids)
        loss = self._loss(batch)
        if batch_index == self.nan_at:
            loss = loss * float("nan")
        if batch_index == self.explode_at:
            loss = loss * 1e6
        self.log("train/loss", loss, batch_size=len(batch))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> Tensor:
        time.sleep(self.val_pause)
        loss = self._loss(batch)
        self.log("val/loss", loss, batch_size=len(batch))
        return loss

    def sample(self, batch: Batch) -> dict[str, Tensor]:
        return {"pose": self.network(batch.pose).clamp(0, 1)}

    def on_validation_end(self) -> None:
        if self.terminate:
            self.terminate = False
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_epoch_start(self) -> None:
        # Draws from the global stream must not matter.
        torch.rand(1)


class ToyGAN(Stage):
    """Two optimisers: a network that takes noise off poses, a discriminator that knows them, a frozen judge of both.

    Args:
        network: the network's own options.
        optimizer: optimiser and its options, for either.
        schedule: learning-rate schedule and its options, for either.
    """

    needs: ClassVar[tuple[str, ...]] = ("pose.npz", "audio.flac")

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(ToyNetwork, given=("dropout",))] = DEFAULTS,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = {"name": "warmup", "warmup_steps": 5},
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        self.automatic_optimization = False
        self.network = build_network(ToyNetwork, network, dropout=0.0)
        self.network.add_module("judge", nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)))
        self.network.judge.requires_grad_(False)
        width = self.network.inner.out_features
        blocks = [nn.Sequential(nn.Linear(3, 2 * width), nn.Tanh()), nn.Linear(2 * width, 1)]
        self.discriminator = Chain(blocks)

    def parts(self) -> dict[str, nn.Module]:
        return {"network": self.network, "discriminator": self.discriminator}

    def figures(self) -> tuple[str, ...]:
        return (*super().figures(), "train/discriminator")

    def training_step(self, batch: Batch, batch_index: int) -> None:
        noisy = batch.pose + 0.1 * self.generator(batch).normal(*batch.pose.shape[1:])
        with self.only("network"):
            output = self.network(noisy)
            alike = nn.functional.mse_loss(self.network.judge(output), self.network.judge(batch.pose))
            loss = nn.functional.mse_loss(output, batch.pose) + alike - 0.1 * self.discriminator(output).mean()
            self.update("network", loss)
        with self.only("discriminator"):
            real, fake = self.discriminator(batch.pose), self.discriminator(output.detach())
            judged = nn.functional.relu(1 - real).mean() + nn.functional.relu(1 + fake).mean()
            self.update("discriminator", judged)
        self.log("train/loss", loss.detach(), batch_size=len(batch))
        self.log("train/discriminator", judged.detach(), batch_size=len(batch))

    def validation_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = nn.functional.mse_loss(self.network(batch.pose), batch.pose)
        self.log("val/loss", loss, batch_size=len(batch))
        return loss


class Chain(nn.Module):
    """Modules one after the other, shared out one by one."""

    def __init__(self, blocks: list[nn.Module]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class ToyClips(IterableDataset):
    """Numbers of clips in an order of (seed, epoch), shared out to workers, that can go on from the middle."""

    def __init__(self, count: int, seed: int, offset: int = 0, shuffle: bool = True):
        self.count, self.seed, self.offset, self.shuffle = count, seed, offset, shuffle
        self.epoch = self.done = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        order = torch.arange(self.count)
        if self.shuffle:
            order = torch.randperm(self.count, generator=torch.Generator().manual_seed(self.seed * 1000 + self.epoch))
        mine = order[worker::workers].tolist()
        for i in range(self.done, len(mine)):
            last = i + 1 == len(mine)
            self.epoch, self.done = (self.epoch + 1, 0) if last else (self.epoch, i + 1)
            yield mine[i] + self.offset

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.done = state["epoch"], state["done"]


def collate(numbers: list[int]) -> Batch:
    poses = [torch.rand(FRAMES, 134, 3, generator=torch.Generator().manual_seed(n)) for n in numbers]
    audio = [torch.rand(FRAMES * 640, generator=torch.Generator().manual_seed(n)) * 0.1 for n in numbers]
    return Batch(
        ids=[f"clip-{n:03d}@0" for n in numbers],
        starts=torch.zeros(len(numbers), dtype=torch.long),
        fps=25.0,
        pose=torch.stack(poses),
        audio=torch.stack(audio),
    )


class ToyData(L.LightningDataModule):
    """Poses from nowhere.

    Args:
        batch_size: clips in a batch.
        batches: batches in an epoch.
        val_batches: batches in a validation.
        workers: loader processes.
        seed: of the order.
    """

    statistics: ClassVar[dict[str, Any]] = {"mean": 0.5}

    def __init__(
        self,
        keys: tuple[str, ...],
        *,
        batch_size: int = 4,
        batches: int = 6,
        val_batches: int = 2,
        workers: int = 0,
        seed: int = 0,
    ):
        super().__init__()
        self.keys, self.seed = keys, seed
        self.batch_size, self.batches, self.val_batches, self.workers = batch_size, batches, val_batches, workers
        self.bad_samples: Counter[str] = Counter({"pose.npz: NaN": 2})

    def train_dataloader(self) -> StatefulDataLoader:
        return StatefulDataLoader(
            ToyClips(self.batch_size * self.batches, self.seed),
            batch_size=self.batch_size,
            collate_fn=collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> StatefulDataLoader:
        clips = ToyClips(self.val_batches * self.batch_size, self.seed, offset=1000, shuffle=False)
        return StatefulDataLoader(clips, batch_size=self.batch_size, collate_fn=collate)


def register() -> None:
    if "toy" not in STAGES.names():
        STAGES.add("toy", ToyStage)
        STAGES.add("toy_gan", ToyGAN)
        DATAMODULES.add("toy", ToyData)


register()

if __name__ == "__main__":
    from trainers.fit import main

    sys.exit(main())
