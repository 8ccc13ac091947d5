"""One run: builds its parts, hands them to Lightning's Trainer, exports the result."""

import dataclasses
import errno
import functools
import logging
import os
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.clip import TooManyBadSamples
from datamodules.shards.cache import ShardError
from datamodules.shards.index import IndexFileError
from datamodules.transport.memory import keep_freed_memory
from settings import ConfigError, get_logger
from settings.output import OutputError, faults_of
from settings.schema import plain
from trainers.callbacks.checkpoints import Checkpoints
from trainers.callbacks.ema import EMA
from trainers.callbacks.epochs import Epochs
from trainers.callbacks.guard import LossGuard
from trainers.callbacks.progress import Progress
from trainers.callbacks.resumed_options import ResumedOptions
from trainers.callbacks.samples import SampleVideos
from trainers.callbacks.signals import Signals
from trainers.callbacks.step_seed import StepSeed
from trainers.callbacks.throughput import Throughput, WaitClock
from trainers.callbacks.watchdog import Watchdog
from trainers.engines.fragments import shards_of
from trainers.engines.pieces import MANIFEST
from trainers.engines.strategies import STRATEGIES, check
from trainers.options import TrainerOptions
from trainers.run.checkpoints import AtomicCheckpointIO, count_batches, fill, init_from, network_weights, newest_whole
from trainers.run.errors import CheckpointError, Interrupted, RunStopped
from trainers.run.exports import rebuilt, write_export
from trainers.run.folder import RunFolder, choose, hold, is_first_rank, open_run, read_config
from trainers.run.resuming import check_resume, state_of
from trainers.run.signals import received
from trainers.stage.agreement import agree
from trainers.stage.base import SampleClip, Stage, check_monitor
from trainers.stage.batches import per_rank
from trainers.stages import DATAMODULES, STAGES
from trainers.tracking.loggers import check_wandb, loggers

logger = get_logger(__name__)


def train(**options: Any) -> Path:
    """Train a stage with the options of `trainers.fit.fit`; returns the run folder."""
    _quiet()
    if received():
        raise Interrupted(received(), "stopped before anything was written")
    folder = choose(options["run"], options["stage"]["name"])
    # The rank that writes is alone in the folder; the others belong to it.
    with hold(folder) if is_first_rank() else nullcontext():
        try:
            with faults_of(folder.path, passing=(RunStopped,)):
                return _train(folder, options)
        except OutputError as error:
            raise RunStopped(f"{error}, with the same run= to go on") from None


def _train(folder: RunFolder, options: dict[str, Any]) -> Path:
    L.seed_everything(options["seed"], workers=True, verbose=False)
    # Built before anything is written: what is wrong with them stops the run here.
    stage = _stage(options)
    check(options["strategy"], options["trainer"], stage, options["compile"].enabled)
    check_monitor(options["checkpoint"].monitor, stage)
    if options["checkpoint"].export == "best" and options["checkpoint"].monitor is None:
        raise ConfigError("checkpoint.export=best wants checkpoint.monitor, the figure that tells the best")
    if is_first_rank():
        check_wandb(options["wandb"])
    datamodule = _datamodule(options, stage)
    ema = EMA(options["ema"].decay, options["ema"].every_n_steps) if options["ema"].enabled else None
    trainer = _trainer(
        options["trainer"],
        options["strategy"],
        stage,
        callbacks=_callbacks(folder, options, ema),
        default_root_dir=folder.path,
    )
    if "global_batch" in options["data"]:
        accumulated = options["trainer"].accumulate_grad_batches
        datamodule.batch_size = per_rank(options["data"], trainer.world_size, accumulated)  # type: ignore[attr-defined]
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    if is_first_rank():
        count_batches(folder.checkpoints, folder.samples, len(stage.parts()) if not stage.automatic_optimization else 1)
    checkpoint = _checkpoint(folder, options["resume"])
    if options["init_from"] and checkpoint is None:
        init_from(stage.network, options["init_from"])
    from_step = 0
    values = {**_plain(options), "run": str(folder)}
    if is_first_rank():  # which alone writes figures
        changed: list[str] = []
        if checkpoint:
            state = state_of(checkpoint)
            from_step = state["callbacks"]["Checkpoints"]["next_row"]
            changed = check_resume(checkpoint, state, _config_of(checkpoint), values, stage, datamodule)
        open_run(folder, values, options["resume"], changed, anew=checkpoint is None)
        logger.info("%s: %s", options["stage"]["name"], _sizes(stage))
        if checkpoint:
            used = f"; changed, and used from here on: {', '.join(changed)}" if changed else ""
            logger.info("resuming from %s, step %d%s", checkpoint, from_step, used)
    trainer.loggers = loggers(folder, options["wandb"], values, from_step)
    _fit(trainer, stage, datamodule, checkpoint)
    if trainer.is_global_zero:
        best = folder.checkpoints / "best.ckpt"
        if options["checkpoint"].export == "best" and best.exists():
            export_checkpoint(values, folder, best)
        elif shards_of(trainer).whole:
            export(stage.network, ema, folder, values)
        else:
            export_checkpoint(values, folder)
        # Imported at the end: brings matplotlib.
        from trainers.report import write_report

        write_report(folder)
    return folder.path


def _fit(trainer: L.Trainer, stage: Stage, datamodule: L.LightningDataModule, checkpoint: Path | None) -> None:
    """Lightning's fit, with errors that are the user's to mend as such."""
    try:
        trainer.fit(stage, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    except (MisconfigurationException, ShardError) as error:
        raise ConfigError(" ".join(str(error).split())) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise RunStopped(f"the disk is full ({error}); make room and start again with the same run= to go on") from None
    except TooManyBadSamples as error:
        # From a loader worker it comes with the worker's traceback before it.
        raise RunStopped(str(error).strip().splitlines()[-1]) from None
    except RuntimeError as error:
        if received() and "DataLoader worker" in str(error):
            # One that had not yet begun to let signals pass.
            raise Interrupted(received(), "a loader worker left too soon to save; the last checkpoint stands") from None
        raise
    finally:
        for each in trainer.loggers:
            each.finalize("success" if trainer.state.finished else "failed")


def export(network: torch.nn.Module, ema: EMA | None, folder: RunFolder, values: Mapping[str, Any]) -> Path:
    """Write `export/` (config.json, model.safetensors) with averaged weights; afterwards the network holds them."""
    if ema is not None:
        ema.copy_to(network)
    return write_export(network, folder.export, values, folder.path)


def export_checkpoint(values: Mapping[str, Any], folder: RunFolder, checkpoint: Path | None = None) -> Path:
    """Write `export/` from a checkpoint; from the newest, where no rank holds the whole network."""
    found = checkpoint or newest_whole(folder.checkpoints)
    if found is None:
        raise CheckpointError(f"no checkpoint in {folder.checkpoints} to export")
    network = rebuilt(values).network
    fill(network, network_weights(found))
    return write_export(network, folder.export, values, folder.path)


def _stage(options: Mapping[str, Any]) -> Stage:
    stage: Stage = STAGES.build(options["stage"])
    stage.seed = options["seed"]
    if options["gradient_checkpointing"]:
        stage.enable_gradient_checkpointing()
    compile_options = options["compile"]
    if compile_options.enabled:
        stage.network.compile(
            mode=compile_options.mode, dynamic=compile_options.dynamic, fullgraph=compile_options.fullgraph
        )
    return stage


def _sizes(stage: Stage) -> str:
    """Millions of parameters of what is trained, part by part, and of what is frozen beside it."""
    trained = {id(p) for part in stage.parts().values() for p in part.parameters()}
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in stage.parts().items()}
    counts["frozen"] = sum(p.numel() for p in stage.parameters() if id(p) not in trained)
    return ", ".join(f"{name} {count / 1e6:.2f} M parameters" for name, count in counts.items() if count)


def _datamodule(options: Mapping[str, Any], stage: Stage) -> L.LightningDataModule:
    """The datamodule, told which keys to decode; the stage gets its statistics."""
    values = dict(options["data"])
    if "seed" in values:
        # Runs with other seeds see the samples in other orders; data.seed tells runs of one seed apart.
        values["seed"] += options["seed"]
    try:
        datamodule: Any = DATAMODULES.build(values, keys=stage.needs)
        if hasattr(datamodule, "facts"):
            agree(stage, datamodule.facts())
        stage.use_statistics(datamodule.statistics)
    except (IndexFileError, ShardError) as error:
        raise ConfigError(f"data: {error}") from None
    return datamodule


def _checkpoint(folder: RunFolder, resume: str) -> Path | None:
    """The checkpoint to go on from: the run folder's own newest whole one, else that of `resume`.

    The first rank looks at every byte, and its choice is the one that all ranks load.
    """
    thorough = is_first_rank()
    own = newest_whole(folder.checkpoints, thorough)
    if own is not None or resume in ("auto", "none"):
        return own
    source = Path(resume)
    alone = source.is_file() or (source / MANIFEST).is_file()
    found = source if alone else newest_whole(RunFolder(source).checkpoints, thorough)
    if found is None:
        raise ConfigError(f"resume={resume}: no checkpoint there; give auto, none, a run folder or a .ckpt file")
    return found


def _config_of(checkpoint: Path) -> dict[str, Any] | None:
    """The config of the run that wrote a checkpoint, None for one that lies elsewhere."""
    return read_config(RunFolder(checkpoint.parent.parent)) if checkpoint.parent.name == "checkpoints" else None


def _callbacks(folder: RunFolder, options: Mapping[str, Any], ema: EMA | None) -> list[L.Callback]:
    """In the order in which they act: Lightning moves Checkpoints to the end itself."""
    throughput = Throughput(functools.partial(_operations, _plain(options)))
    return [
        *([ema] if ema else []),
        ResumedOptions(),
        StepSeed(options["seed"]),
        LossGuard(options["guard"]),
        throughput,
        SampleVideos(folder.samples, options["samples"]),
        *([Progress(throughput)] if options["trainer"].enable_progress_bar else []),
        Signals(),
        Epochs(folder.path),
        Watchdog(folder.path, options["watchdog"]),
        Checkpoints(folder.checkpoints, options["checkpoint"]),
    ]


def _operations(values: Mapping[str, Any], size: int) -> int | None:
    """Floating-point operations of a step with so many windows; None where they cannot be counted."""
    # Needed on GPUs alone.
    from trainers.planning.measure import measure

    try:
        return measure(values, size).operations
    except ConfigError as error:
        logger.info("no MFU: %s", error)
        return None


def _trainer(options: TrainerOptions, strategy: Mapping[str, Any], stage: Stage, **parts: Any) -> L.Trainer:
    values = dataclasses.asdict(options)
    plugins: list[Any] = [AtomicCheckpointIO()]
    if SLURMEnvironment.detect():
        # Its own requeueing saves in the middle of a step.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    if strategy["name"].startswith("deepspeed"):
        from trainers.engines.zero import ZeroPrecision

        plugins.append(ZeroPrecision(values.pop("precision")))
    if not stage.automatic_optimization:
        value, algorithm = values.pop("gradient_clip_val"), values.pop("gradient_clip_algorithm")
        stage.clip = SampleClip(value, algorithm) if value else None
    if values["max_epochs"] is None:
        if values["max_steps"] < 0:
            raise ConfigError("the run has no end: set trainer.max_steps or trainer.max_epochs")
        values["max_epochs"] = -1

    def build(by_name: Mapping[str, Any]) -> L.Trainer:
        return L.Trainer(
            **values,
            **parts,
            strategy=STRATEGIES.build(dict(by_name)),
            plugins=plugins,
            profiler=WaitClock(),
            logger=False,  # set when the run folder is there
            enable_model_summary=False,
            # The datamodule shares samples out among ranks.
            use_distributed_sampler=False,
        )

    try:
        trainer = build(strategy)
        if strategy["name"] == "auto" and trainer.world_size > 1:
            trainer = build({"name": "ddp"})
        return trainer
    except (MisconfigurationException, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from None


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as YAML knows them."""
    return {
        name: plain(dataclasses.asdict(value)) if dataclasses.is_dataclass(value) else plain(value)  # type: ignore[arg-type]
        for name, value in options.items()
    }


def _quiet() -> None:
    """Lightning's hints that do not apply here."""
    logging.getLogger("lightning.pytorch").setLevel(os.environ.get("COSPEECH_LIGHTNING_LOG", "WARNING"))
    for text in (
        ".*does not have many workers.*",
        ".*is smaller than the logging interval.*",
        ".*tensorboardX.*",
        ".*set_vital.*",
        ".*LeafSpec.*",
        ".*has `__len__` defined.*",
        ".*`srun` command is available.*",
        ".*will silently drop the pre-backward hook.*",
        ".*in eval mode at the start of training.*",  # what is frozen stays so
        "`torch.distributed.* is deprecated.*",
    ):
        warnings.filterwarnings("ignore", text)
