"""DeepSpeed's ZeRO: optimiser state (1), gradients (2) and parameters (3) shared out over the ranks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from lightning.pytorch.core.optimizer import _init_optimizers_and_lr_schedulers
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from settings import ConfigError
from trainers.engines.fragments import Fragment, Shards, trained
from trainers.engines.state import group_names
from trainers.engines.strategy import InPieces, Trained, frozen_modules, parts_of

_DTYPES = {"bf16-mixed": "bfloat16", "16-mixed": "float16"}
BUCKET = 500_000_000
"""Most elements of a gradient bucket, DeepSpeed's own default."""

_SCALE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


class Stretches(Shards):
    """Stretches of flattened parameters, as ZeRO cuts them.

    Args:
        stage: 1, 2 or 3.
    """

    whole = False
    norm_after_step = True

    def __init__(self, stage: int):
        self.stage = stage
        self.engines: dict[int, Any] = {}

    def fragments(self, part: nn.Module) -> list[Fragment]:
        optimizer = self.engines[id(part)].optimizer
        cut = self._of_stage_3 if self.stage == 3 else self._of_stage_1_and_2
        found = (cut(optimizer, name, p) for name, p in trained(part).items())
        return [fragment for fragment in found if fragment is not None]

    def publish(self, part: nn.Module) -> None:
        optimizer = self.engines[id(part)].optimizer
        with torch.no_grad():
            if self.stage < 3:
                optimizer.update_lp_params()
                return
            optimizer._partition_all_parameters()
            for group in range(len(optimizer.fp32_partitioned_groups_flat)):
                optimizer._reassign_or_swap_out_partitioned_parameters(group)
            if optimizer.persistent_parameters:
                optimizer.persistent_parameters[0].all_gather(optimizer.persistent_parameters)
            optimizer.invalidate_secondary_tensor()

    def gradient_norm(self, optimizer: Any) -> Tensor | None:
        norm = getattr(optimizer, "_global_grad_norm", None)
        return None if norm is None else torch.as_tensor(norm)

    @staticmethod
    def _of_stage_1_and_2(optimizer: Any, name: str, p: nn.Parameter) -> Fragment | None:
        mapping = p._hp_mapping
        if mapping is None:
            return None  # another rank's
        holder = optimizer.single_partition_of_fp32_groups[mapping.param_group_index]
        start, place = mapping.lp_fragment_address.start, mapping.hp_fragment_address.start
        return Fragment(name, p.shape, start, mapping.hp_fragment.detach(), holder, place)

    @staticmethod
    def _of_stage_3(optimizer: Any, name: str, p: nn.Parameter) -> Fragment | None:
        group, place, length = optimizer.grad_position[optimizer.get_param_id(p)]
        start = optimizer._get_param_partition_rank(p) * length
        count = max(0, min(length, p.ds_numel - start))  # the last one is padded
        if not count:
            return None
        holder = optimizer.fp32_partitioned_groups_flat[group]
        return Fragment(name, p.ds_shape, start, holder.detach()[place : place + count], holder, place)


class Zero(InPieces, DDPStrategy):
    """ZeRO, one DeepSpeed engine for every optimiser of a stage.

    The stage calls its plain modules; engines do the backward passes and the steps. Mixed precision is torch's autocast
    with weights in full precision, as with the other strategies.

    Args:
        stage: 1, 2 or 3.
        offload: "none", "optimizer" (state and step on the CPU) or "all" (parameters too).
        config: further entries of DeepSpeed's own config; they win.
        options: of Lightning's DDPStrategy.
    """

    engine_per_part = True

    def __init__(self, stage: int, offload: str = "none", config: dict[str, Any] | None = None, **options: Any):
        super().__init__(**options)
        self.level, self.offload, self.config = stage, offload, config or {}
        self.shards: Stretches = Stretches(stage)
        self.trained: list[Trained] = []
        self._engines: list[Any] = []

    @property
    def root_device(self) -> torch.device:
        # DeepSpeed wants a number, on the CPU too.
        device = super().root_device
        return torch.device("cpu", self.local_rank) if device.type == "cpu" else device

    def setup_distributed(self) -> None:
        if self.root_device.type == "cpu":
            os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed

        # Its shared-memory all-reduce serves one node alone and is compiled at every start; a process killed
        # meanwhile leaves a lock behind on which all later ones wait.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.utils.logging.logger.setLevel("ERROR")
        super().setup_distributed()
        deepspeed.init_distributed(self._get_process_group_backend(), dist_init_required=False)

    def setup(self, trainer: Any) -> None:
        """Build an engine for every part."""
        accelerator: Any = self.accelerator
        accelerator.setup(trainer)
        self.precision_plugin.device = self.root_device.type
        stage = self.stage
        parts = parts_of(stage, f"deepspeed_{self.level}")
        stage.to(self.root_device)
        self.model = stage
        if trainer.state.fn == TrainerFn.FITTING:
            optimizers, self.lr_scheduler_configs = _init_optimizers_and_lr_schedulers(stage)
            if len(optimizers) != len(parts):
                raise ConfigError(
                    f"{type(stage).__name__} has {len(optimizers)} optimisers for {len(parts)} parts; "
                    f"strategy=deepspeed_{self.level} wants one each"
                )
            for (name, part), optimizer in zip(parts.items(), optimizers, strict=True):
                named = Trained(name, part, optimizer, group_names(part, optimizer))
                engine = self._engine(part, optimizer, trainer)
                self.shards.engines[id(part)] = engine
                self.trained.append(named)
                self._engines.append(engine)
            self.optimizers = [engine.optimizer for engine in self._engines]
        self.setup_precision_plugin()
        self.barrier()

    def _engine(self, part: nn.Module, optimizer: torch.optim.Optimizer, trainer: Any) -> Any:
        import deepspeed

        with _set_aside(part, self.level):
            engine, _, _, _ = deepspeed.initialize(
                config=self._engine_config(part, trainer), model=part, optimizer=optimizer,
                model_parameters=[p for p in part.parameters() if p.requires_grad], dist_init_required=False,
            )  # fmt: skip
        if self.level == 3:
            # Behind DeepSpeed's own hook, which has it look out for weights to gather in all that lies below.
            part.register_forward_pre_hook(_leave_frozen)
        return engine

    def _engine_config(self, part: nn.Module, trainer: Any) -> dict[str, Any]:
        stage = self.stage
        # DeepSpeed makes its bucket as large as it is told, half a billion by default, however small the network.
        bucket = min(BUCKET, sum(p.numel() for p in trained(part).values()))
        zero: dict[str, Any] = {"stage": self.level, "contiguous_gradients": True, "reduce_bucket_size": bucket}
        pin = self.root_device.type == "cuda"
        if self.offload != "none":
            zero["offload_optimizer"] = {"device": "cpu", "pin_memory": pin}
        if self.offload == "all":
            zero["offload_param"] = {"device": "cpu", "pin_memory": pin}
        config: dict[str, Any] = {
            "train_micro_batch_size_per_gpu": 1,  # for its own log only
            "managed_gradient_accumulation": False,  # Lightning says when to step
            "gradient_clipping": (stage.clip.value if stage.clip else trainer.gradient_clip_val) or 0.0,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "zero_optimization": zero,
        }
        dtype = _DTYPES.get(str(self.precision_plugin.precision))
        if dtype:
            config["torch_autocast"] = {"enabled": True, "dtype": dtype}
        return (
            config
            | {key: value for key, value in self.config.items() if key != "zero_optimization"}
            | {"zero_optimization": zero | self.config.get("zero_optimization", {})}
        )

    def backward(
        self, closure_loss: Tensor, optimizer: Any, *args: Any, part: str | None = None, **kwargs: Any
    ) -> Tensor:
        """Backward pass through the engine of a part; the only one where there is one."""
        index = next((i for i, each in enumerate(self.trained) if each.name == part), 0)
        engine = self._engines[index]
        # What the engine does around a forward pass of its own; here the stage calls the plain module.
        engine.optimizer.clear_backward_seen_flag()
        closure_loss.register_hook(lambda grad: engine._backward_prologue())
        engine.backward(closure_loss)
        return closure_loss

    def optimizer_step(self, optimizer: Any, closure: Any, model: Any = None, **kwargs: Any) -> Any:
        """Step of the engine whose optimiser it is."""
        result = closure()
        self.precision_plugin._after_closure(self.stage, optimizer)  # hooks of callbacks
        engine = next(engine for engine in self._engines if engine.optimizer is optimizer)
        engine.step()
        return result

    def engine_state(self) -> dict[str, Any]:
        scalers = [getattr(engine.optimizer, "loss_scaler", None) for engine in self._engines]
        return {"loss_scales": [{k: getattr(s, k) for k in _SCALE if hasattr(s, k)} for s in scalers]}

    def load_engine_state(self, state: dict[str, Any]) -> None:
        for engine, saved in zip(self._engines, state.get("loss_scales", []), strict=False):
            scaler = getattr(engine.optimizer, "loss_scaler", None)
            for key, value in saved.items():
                if hasattr(scaler, key):
                    setattr(scaler, key, value)


class ZeroPrecision(Precision):
    """Autocast around the steps; loss scaling and clipping are the engine's.

    Args:
        precision: "32-true", "bf16-mixed" or "16-mixed".
    """

    def __init__(self, precision: str):
        super().__init__()
        self.precision = precision  # type: ignore[assignment]
        self.device = "cpu"

    def forward_context(self) -> Any:
        dtype = _DTYPES.get(str(self.precision))
        return torch.autocast(self.device, dtype=getattr(torch, dtype)) if dtype else nullcontext()

    def clip_gradients(self, *args: Any, **kwargs: Any) -> None:
        """The engine clips."""


def _leave_frozen(part: nn.Module, inputs: Any) -> None:
    """Let a forward pass read the weights of frozen modules as they are: every rank has them whole."""
    for frozen in frozen_modules(part).values():
        for module in frozen.modules():
            if hasattr(module._parameters, "_in_forward"):
                module._parameters._in_forward = False


@contextmanager
def _set_aside(part: nn.Module, stage: int) -> Iterator[None]:
    """A part without its frozen modules for a while: what is not trained is not shared out."""
    before: dict[nn.Module, dict[str, nn.Module | None]] = {}
    for name in frozen_modules(part):
        parent_name, _, child = name.rpartition(".")
        parent = part.get_submodule(parent_name)
        before.setdefault(parent, dict(parent._modules))
    for name in frozen_modules(part):
        parent_name, _, child = name.rpartition(".")
        del part.get_submodule(parent_name)._modules[child]
    try:
        yield
        if stage == 3:
            from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

            for parent, modules in before.items():
                for p in (
                    p for name, m in modules.items() if m and name not in parent._modules for p in m.parameters()
                ):
                    # What DeepSpeed asks of every parameter below its module: nothing to fetch or let go.
                    p.ds_status, p.ds_active_sub_modules = ZeroParamStatus.NOT_AVAILABLE, set()
    finally:
        for parent, modules in before.items():
            parent._modules.clear()
            parent._modules.update(modules)
