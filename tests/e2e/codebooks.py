"""Trainings of the tokenizer whose ranks write their codebooks down: `python -m tests.e2e.codebooks FILE`.

FILE is a JSON list of lists of words of the training command, run one after the other in the same processes.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from trainers.fit import main
from trainers.run.folder import current
from trainers.stages import STAGES
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


STAGES.add("watched_tokenizer", WatchedTokenizer)

if __name__ == "__main__":
    for words in json.loads(Path(sys.argv[1]).read_text()):
        os.environ.pop("COSPEECH_RUN_FOLDER", None)
        if main(words):
            sys.exit(f"failed: {words}")
