"""The base of all stages: one LightningModule per trainable stage."""

import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from pretrained.frozen import frozen_of
from settings import Choice, ConfigError
from trainers.engines.fragments import shards_of
from trainers.stage.agreement import Expected
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class SampleClip:
    """How gradients are clipped where a stage steps its optimisers itself.

    Attributes:
        value: largest norm, or largest value.
        algorithm: "norm" over all parameters of an optimiser, or "value".
    """

    value: float
    algorithm: str = "norm"


class Stage(L.LightningModule):
    """Owns a network, its loss, its optimisers and what a validation sample looks like.

    A subclass sets `self.network`, names the clip keys it reads in `needs`, and writes `training_step`,
    `validation_step` and, when it has something to show, `sample`. Its typed keyword-only constructor is its config.
    Losses are logged as `train/loss`, `train/loss_face`, ..., `val/loss`; `figures` names what is more than the two.

    A stage with several optimisers (a GAN) sets `automatic_optimization = False`, names what each of them trains in
    `parts`, has an optimiser of each in that order, and steps them with `only` and `update`. It calls
    its modules whole (`self.network(...)`), since strategies that share weights out gather them on the call.

    What is frozen when training starts is no part of checkpoints: the constructor has to make it again. A network of
    an earlier stage, or of others, that is used and not trained stands in a `pretrained.frozen.Frozen`.

    Args:
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    """Keys of a clip that the stage reads (`datamodules/clip.py`); the others are not decoded."""

    speech_layers: tuple[int, int] | None = None
    """How many layers of a pretrained speech model the stage reads and their channels, for plans; None of none."""

    full_precision: ClassVar[str] = ""
    """Why the stage had better be trained in fp32, for those who plan; empty where bf16-mixed will do."""

    network: nn.Module
    """What is trained, averaged (EMA) and exported: a `PyTorchModelHubMixin`."""

    seed: int = 0
    """Seed of the run; `fit` sets it."""

    clip: SampleClip | None = None
    """How `update` clips; `fit` sets it."""

    def __init__(
        self,
        *,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__()
        self.losses: dict[str, Tensor] = {}
        self.optimizer_options = optimizer
        self.schedule_options = schedule

    def expects(self) -> list[Expected]:
        """What the stage and its data have to agree on; compared before the run folder is made."""
        return []

    def figures(self) -> tuple[str, ...]:
        """Every name under which the stage logs in its steps; `checkpoint.monitor` has to be one of them."""
        return both("loss")

    def frozen(self) -> dict[str, str]:
        """SHA-256 of each network that is used and not trained; a run goes on with the same ones only."""
        return {name: each.sha256 for name, each in frozen_of(self).items()}

    def use_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Take the normalisation statistics of the index into the network's buffers, if it has any."""
        if hasattr(self.network, "set_statistics"):
            self.network.set_statistics(statistics)  # type: ignore[operator]

    def configure_optimizers(self) -> Any:
        """One optimiser over all trainable parameters, or one for each of several parts; schedules step with them."""
        parts = list(self.parts().values())
        schedule = SCHEDULES.build(self.schedule_options)
        optimizers = [
            OPTIMIZERS.build(self.optimizer_options)([p for p in part.parameters() if p.requires_grad])
            for part in (parts if len(parts) > 1 else [self])
        ]
        schedules = [{"scheduler": schedule(one, self.steps_of_each), "interval": "step"} for one in optimizers]
        if len(parts) == 1:
            return {"optimizer": optimizers[0], "lr_scheduler": schedules[0]}
        return optimizers, schedules

    def steps_of_each(self) -> int | float:
        """Steps that each optimiser takes in the whole run; `trainer.max_steps` counts those of all of them."""
        steps = self.trainer.estimated_stepping_batches
        return steps // len(self.parts()) if steps == self.trainer.max_steps else steps

    def parts(self) -> dict[str, nn.Module]:
        """The modules that are trained, by attribute name: one for each optimiser, in their order."""
        return {"network": self.network}

    @contextmanager
    def only(self, part: str) -> Iterator[None]:
        """A while in which no other part takes gradients; losses for `update` are computed inside of it."""
        others = [p for name, other in self.parts().items() if name != part for p in other.parameters()]
        taking = [p for p in others if p.requires_grad]
        for p in taking:
            p.requires_grad_(False)
        try:
            yield
        finally:
            for p in taking:
                p.requires_grad_(True)

    def update(self, part: str, loss: Tensor) -> None:
        """One step of a part's optimiser down the gradient of a loss, and of its schedule. Call it inside `only`."""
        number = list(self.parts()).index(part)
        optimizers, schedules = self.optimizers(), self.lr_schedulers()
        optimizer: Any = optimizers[number] if isinstance(optimizers, list) else optimizers
        self.losses[part] = loss.detach()
        optimizer.zero_grad()
        engines = getattr(self.trainer.strategy, "engine_per_part", False)
        self.manual_backward(loss, **({"part": part} if engines else {}))
        shards = shards_of(self.trainer)
        if self.trainer._logger_connector.should_update_logs and not shards.norm_after_step:
            norm = shards.gradient_norm(optimizer)
            if norm is not None:
                self.log("train/grad_norm" if number == 0 else f"train/grad_norm_{number}", norm, sync_dist=False)
        if self.clip is not None and not engines:
            self.clip_gradients(optimizer, self.clip.value, self.clip.algorithm)
        optimizer.step()
        schedule: Any = schedules[number] if isinstance(schedules, list) else schedules
        if schedule is not None:
            schedule.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what is frozen but for its hash, and name the parameters of each optimiser."""
        names = {id(p): name for name, p in self.named_parameters()}
        for name in _not_trained(self):
            checkpoint["state_dict"].pop(name, None)
        checkpoint["frozen"] = self.frozen()
        if checkpoint.get("optimizer_states") and checkpoint["state_dict"]:
            checkpoint["parameters"] = [
                [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
                for optimizer in self.trainer.optimizers
            ]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What is frozen keeps what the constructor made."""
        if checkpoint.get("state_dict"):
            own = self.state_dict()
            for name in _not_trained(self):
                if name in own:
                    checkpoint["state_dict"].setdefault(name, own[name])

    def log(self, name: str, value: Any, *args: Any, **options: Any) -> None:
        """Lightning's `log`, skipped at training steps of which no row is written: it takes 0.3 ms."""
        if (
            self._trainer is not None
            and self._trainer.training
            and not (args or options.get("prog_bar") or options.get("on_epoch"))
            and not self._trainer._logger_connector.should_update_logs
        ):
            return
        options.setdefault("sync_dist", True)  # the mean over ranks
        super().log(name, value, *args, **options)

    def log_each(self, part: str, figures: Mapping[str, Tensor], size: int) -> None:
        """Log scalars that are means over so many windows, each as `<part>/<name>`."""
        for name, value in figures.items():
            self.log(f"{part}/{name}", value.detach(), batch_size=size)

    def generator(self, batch: Any) -> "SampleGenerator":
        """Random numbers of a step, one stream per sample.

        In training a stream depends on (seed, epoch, sample id) alone, so a resumed run and another number of ranks
        repeat it; in validation on (seed, sample id), so that validations can be compared.
        """
        epoch = self.current_epoch if self.training else "validation"
        return SampleGenerator([f"{self.seed}/{epoch}/{sample}" for sample in batch.ids], self.device)

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """What the network makes of a batch, to be shown beside the real thing.

        Returns:
            `pose` (B, T, 134, 3), x and y as fractions of the frame and a score, `motion` (B, M, 263) at 20 fps,
            `video` (B, T, 3, H, W) in [0, 1], or `beside` (B, T, 3, H, W) in which reference, real and generated frames
            stand beside each other already; empty when there is nothing to show.
        """
        return {}

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass. Raises ConfigError when the network cannot."""
        if not hasattr(self.network, "enable_gradient_checkpointing"):
            raise ConfigError(
                f"gradient_checkpointing: {type(self.network).__name__} has no enable_gradient_checkpointing(); "
                "set gradient_checkpointing=false"
            )
        self.network.enable_gradient_checkpointing()  # type: ignore[operator]


class LossStage(Stage):
    """A stage that trains and validates by one loss: a subclass writes `step(batch, part)`, `part` "train" or "val"."""

    def step(self, batch: Any, part: str) -> Tensor:
        """The loss of a batch; logs it, and its parts, behind `part`."""
        raise NotImplementedError(f"{type(self).__name__} needs a step")

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """The loss of one batch."""
        return self.step(batch, "train")

    def validation_step(self, batch: Any, batch_index: int) -> Tensor:
        """The same loss on held-out windows, with random numbers that are the same every time."""
        return self.step(batch, "val")


def check_chances(**chances: float) -> None:
    """Raises ConfigError for an option of a stage that is no probability."""
    for name, chance in chances.items():
        if not 0 <= chance <= 1:
            raise ConfigError(f"stage.{name} is a probability, got {chance}")


def build_network(kind: Callable[..., N], options: Mapping[str, Any], **given: Any) -> N:
    """A network from its section of the config, `stage.network`.

    Args:
        kind: its class.
        options: keyword arguments, as the config has them.
        given: further ones, which the stage knows.

    Raises:
        ConfigError: sizes that do not go together.
    """
    try:
        return kind(**options, **given)
    except ValueError as error:
        raise ConfigError(f"stage.network: {error}") from None


class SampleGenerator:
    """Random numbers for a batch, drawn sample by sample from streams of their own.

    Args:
        keys: one text per sample; equal texts give equal numbers.
        device: where the numbers are drawn.
    """

    def __init__(self, keys: list[str], device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self._streams = [torch.Generator(self.device).manual_seed(_seed(key)) for key in keys]

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers (B, *shape)."""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self._streams])

    def uniform(self, *shape: int) -> Tensor:
        """Numbers from [0, 1), (B, *shape)."""
        return torch.stack([torch.rand(shape, generator=g, device=self.device) for g in self._streams])

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers from low to high - 1, (B, *shape) int64."""
        return torch.stack([torch.randint(low, high, shape, generator=g, device=self.device) for g in self._streams])


def both(*names: str) -> tuple[str, ...]:
    """Names of figures that are logged in training and in validation."""
    return tuple(f"{part}/{name}" for part in ("train", "val") for name in names)


def check_sampling(network: Any) -> None:
    """Raises ConfigError for a diffusion that would take more steps than it is trained with."""
    steps, trained = network.sampling_steps, getattr(network.noise, "train_steps", None)
    if trained is not None and steps > trained:  # noise of any size has no number of steps
        raise ConfigError(
            f"stage.network.sampling_steps is {steps}, but stage.network.train_steps is {trained}: a diffusion takes "
            f"no more steps than it is trained with; set stage.network.sampling_steps to 1 to {trained}"
        )


def check_monitor(name: str | None, stage: Stage) -> None:
    """Raises ConfigError for a figure that the stage does not log: there would be no best checkpoint."""
    if name is None or name in stage.figures():
        return
    near = difflib.get_close_matches(name, stage.figures(), 1, 0.5)
    meant = f"did you mean {near[0]}? " if near else ""
    raise ConfigError(
        f"checkpoint.monitor={name}: {type(stage).__name__} logs nothing of that name; {meant}there are "
        f"{', '.join(sorted(stage.figures(), reverse=True))}, or null, which keeps no best checkpoint"
    )


def _not_trained(stage: nn.Module) -> list[str]:
    return [name for name, p in stage.named_parameters() if not p.requires_grad]


def _seed(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest(), "little")
