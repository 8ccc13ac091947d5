"""The samples after a resume are those of an unbroken run, by ids: with and without workers, under Lightning too."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules.reader import ClipDataModule
from datamodules.shards.index import Index
from tests.shards import write_shards

KEYS = ("pose.npz", "speech.npz")


def module(shards, rank=0, ranks=1, **options):
    data = ClipDataModule(KEYS, **{"shards": shards, "batch_size": 8, "workers": 0} | options)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=ranks)
    return data


def run(loader, steps):
    """Ids of so many batches, over as many epochs as they need."""
    taken = []
    while len(taken) < steps:
        for batch in loader:
            taken.append(batch.ids)
            if len(taken) == steps:
                break
    return taken


@pytest.mark.parametrize("windows", ["stride", "random"])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 2), (2, 0), (0, 3)])
def test_a_resumed_loader_goes_on_where_it_stood(shards, windows, before, after):
    options = {"windows": windows, "windows_per_clip": 5}
    unbroken = run(module(shards, **options).train_dataloader(), 50)
    for stop in (0, 3, 20, 29, 30, 33):  # epochs of 29 or 20 batches: within the first, at an end, within the second
        loader = module(shards, workers=before, **options).train_dataloader()
        assert run(loader, stop) == unbroken[:stop]
        state = json.loads(json.dumps(loader.state_dict()))  # plain: it can be stored anywhere
        repeated = module(shards, workers=after, **options).train_dataloader()
        repeated.load_state_dict(state)
        assert run(repeated, 50 - stop) == unbroken[stop:]


def test_the_state_counts_what_was_handed_out_not_what_workers_made_ahead(shards):
    loader = module(shards, workers=2, prefetch=4).train_dataloader()
    batches = iter(loader)
    for taken in range(5):
        assert loader.state_dict()["place"]["position"] == 8 * taken
        next(batches)


def test_a_resume_reads_nothing_over_again(shards):
    whole = module(shards).train_dataloader()
    run(whole, len(whole) - 1)
    repeated = module(shards).train_dataloader()
    repeated.load_state_dict(whole.state_dict())
    assert run(repeated, 1)
    assert repeated.dataset.samples_read <= 8


def test_the_number_of_ranks_may_change_within_an_epoch(shards):
    four = [module(shards, rank=r, ranks=4).train_dataloader() for r in range(4)]
    seen = [name for loader in four for batch in run(loader, 3) for name in batch]
    assert len({json.dumps(loader.state_dict()) for loader in four}) == 1  # so storing one rank's is enough
    three = [module(shards, rank=r, ranks=3).train_dataloader() for r in range(3)]
    for loader in three:
        loader.load_state_dict(four[0].state_dict())
    assert len({len(loader) for loader in three}) == 1
    left = len(three[0]) - 3
    seen += [name for loader in three for batch in run(loader, left) for name in batch]
    whole = module(shards).train_dataloader()
    every = [name for batch in run(whole, len(whole)) for name in batch]
    assert set(seen) == set(every)
    assert len(seen) - len(every) <= 2


@pytest.mark.parametrize("changed", [{"window": 40}, {"seed": 5}, {"where": {"speaker": "ann"}}, {"windows": "clip"}])
def test_the_state_of_other_data_is_refused(shards, changed):
    state = module(shards).train_dataloader().state_dict()
    with pytest.raises(ValueError, match="init_from"):
        module(shards, **changed).train_dataloader().load_state_dict(state)


class Notes(L.LightningModule):
    """Learns one number and notes the ids it saw."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

    def training_step(self, batch, _):
        self.seen.append(batch.ids)
        return (self.weight - batch.pose[..., 2].mean()) ** 2

    def validation_step(self, batch, _):
        assert len(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(shards, folder, workers, steps, resume=None, **options):
    notes = Notes()
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[ModelCheckpoint(dirpath=folder, every_n_train_steps=1, save_top_k=-1)],
        **options,
    )
    data = ClipDataModule(KEYS, shards=shards, batch_size=8, workers=workers)
    trainer.fit(notes, datamodule=data, ckpt_path=resume, weights_only=True)
    return notes.seen


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_under_lightning(shards, tmp_path, workers):
    # 29 batches an epoch; validation in the middle of each and at its end.
    unbroken = fit(shards, tmp_path / "unbroken", workers, 70, val_check_interval=12)
    assert len({name for batch in unbroken[:29] for name in batch}) == sum(map(len, unbroken[:29]))
    for stop in (5, 12, 28, 29, 30, 58):
        checkpoint = next((tmp_path / "unbroken").glob(f"*step={stop}.ckpt"))
        resumed = fit(shards, tmp_path / f"from{stop}", 2 - workers, stop + 10, checkpoint, val_check_interval=12)
        assert resumed == unbroken[stop : stop + 10], f"after step {stop}"


@pytest.mark.slow
def test_resume_in_a_new_process(shards, tmp_path):
    unbroken = fit(shards, tmp_path / "unbroken", 2, 40)
    code = (
        "import json, sys; from tests.datamodules.test_resume import fit\n"
        "json.dump(fit(sys.argv[1], sys.argv[2], 2, int(sys.argv[3]), sys.argv[4] or None), open(sys.argv[5], 'w'))"
    )
    seen = []
    for number, (steps, resume) in enumerate([(17, ""), (40, str(tmp_path / "broken" / "epoch=0-step=17.ckpt"))]):
        out = tmp_path / f"{number}.json"
        command = [sys.executable, "-c", code, shards, str(tmp_path / "broken"), str(steps), resume, str(out)]
        subprocess.run(
            command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=120
        )
        seen += json.loads(out.read_text())
    assert seen == unbroken


def test_bad_samples_do_not_break_resume(tmp_path):
    write_shards(tmp_path, clips=12, per_shard=4, seconds=6.0, keys=("pose.npz", "speech.npz"))
    shard = Index.load(tmp_path).shards[1]
    damaged = bytearray((tmp_path / shard.name).read_bytes())
    damaged[shard.samples[2].offset :] = bytes(len(damaged) - shard.samples[2].offset)
    (tmp_path / shard.name).write_bytes(damaged)
    unbroken = run(module(str(tmp_path)).train_dataloader(), 30)
    for stop in (4, 9, 15):
        loader = module(str(tmp_path), workers=2).train_dataloader()
        run(loader, stop)
        repeated = module(str(tmp_path), workers=2).train_dataloader()
        repeated.load_state_dict(loader.state_dict())
        assert run(repeated, 30 - stop) == unbroken[stop:]
