"""Repeatable dropout."""

from typing import Any

import lightning.pytorch as L
import torch


class StepSeed(L.Callback):
    """Seeds torch's global random numbers before each batch from (seed, batch, rank).

    What draws from them (dropout) then repeats itself in a resumed run, whatever ran in between. Batches and not
    optimiser steps are counted, so that accumulated batches differ.

    Args:
        seed: seed of the run.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        done = trainer.fit_loop.epoch_loop.total_batch_idx
        # Any odd constants will do: they keep (seed, batch, rank) apart.
        seed = (self.seed * 0x9E3779B1 + done * 0x85EBCA77 + trainer.global_rank * 0xC2B2AE3D) % 2**63
        # torch.manual_seed also queues a call for every kind of device that is not in use: a millisecond, and it leaks.
        torch.default_generator.manual_seed(seed)
        if pl_module.device.type == "cuda":
            torch.cuda.manual_seed(seed)
