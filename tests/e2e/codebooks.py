"""The tokenizer's stage whose ranks write their codebooks down."""

from typing import Any

import lightning.pytorch as L
import torch

from trainers.run.folder import current
from trainers.versa.tokenizer import TokenizerStage


class WriteCodebook(L.Callback):
    """Writes `codebook-<rank>.pt` into the run folder after every step."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        folder = current()
        if folder is None:
            raise RuntimeError("no run folder")
        path = folder.path / f"codebook-{trainer.global_rank}.pt"
        steps = torch.load(path) if path.exists() else []
        own = {name: value.clone() for name, value in pl_module.network.quantizer.state_dict().items()}
        torch.save([*steps, own], path)


class WatchedTokenizer(TokenizerStage):
    """The tokenizer's stage."""

    def configure_callbacks(self) -> list[WriteCodebook]:
        return [WriteCodebook()]
