"""How a run is spread over devices, by name. Each function takes the options and returns Lightning's strategy."""

from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import Field

from settings import ConfigError, Registry

STRATEGIES = Registry(
    "strategy",
    {
        name: f"trainers.engines.strategies:{name}"
        for name in ("auto", "ddp", "fsdp", "deepspeed_1", "deepspeed_2", "deepspeed_3")
    },
)

Minutes = Annotated[float, Field(gt=0)]


def auto() -> str:
    """One device: as it is. More devices: ddp with its usual options."""
    return "auto"


def ddp(*, find_unused_parameters: bool = False, static_graph: bool = False, timeout_minutes: Minutes = 30.0) -> Any:
    """Distributed data parallel: a whole copy of the network on every device.

    Args:
        find_unused_parameters: allow steps in which some parameters get no gradient; slower. Stages with several
            optimisers always do.
        static_graph: promise that every step uses the same parameters; helps with gradient checkpointing.
        timeout_minutes: how long a rank waits for the others before it gives up.
    """
    from trainers.engines.strategy import Replicated

    return Replicated(
        find_unused_parameters=find_unused_parameters,
        static_graph=static_graph,
        gradient_as_bucket_view=True,
        timeout=_minutes(timeout_minutes),
    )


def fsdp(*, offload: Literal["none", "optimizer", "all"] = "none", timeout_minutes: Minutes = 30.0) -> Any:
    """Fully sharded data parallel (FSDP2, on GPU and on CPU): weights, gradients and optimiser state are shared out.

    Args:
        offload: all keeps on the CPU what a rank holds, and steps there; FSDP2 has nothing between none and all.
        timeout_minutes: how long a rank waits for the others before it gives up.
    """
    from trainers.engines.fsdp import FullySharded

    if offload == "optimizer":
        raise ConfigError(
            "strategy.offload=optimizer: FSDP2 offloads weights, gradients and optimiser state together; use "
            "strategy.offload=all, or deepspeed_2 with offload=optimizer"
        )
    return FullySharded(offload == "all", timeout=_minutes(timeout_minutes))


def deepspeed_1(
    *,
    offload: Literal["none", "optimizer", "all"] = "none",
    config: dict[str, Any] = {},
    timeout_minutes: Minutes = 30.0,
) -> Any:
    """DeepSpeed ZeRO 1: optimiser state is shared out.

    Args:
        offload: optimizer keeps optimiser state on the CPU and steps there.
        config: entries of DeepSpeed's own config, which win.
        timeout_minutes: how long a rank waits for the others before it gives up.
    """
    return _zero(1, offload, config, timeout_minutes)


def deepspeed_2(
    *,
    offload: Literal["none", "optimizer", "all"] = "none",
    config: dict[str, Any] = {},
    timeout_minutes: Minutes = 30.0,
) -> Any:
    """DeepSpeed ZeRO 2: optimiser state and gradients are shared out.

    Args:
        offload: optimizer keeps optimiser state on the CPU and steps there.
        config: entries of DeepSpeed's own config, which win.
        timeout_minutes: how long a rank waits for the others before it gives up.
    """
    return _zero(2, offload, config, timeout_minutes)


def deepspeed_3(
    *,
    offload: Literal["none", "optimizer", "all"] = "none",
    config: dict[str, Any] = {},
    timeout_minutes: Minutes = 30.0,
) -> Any:
    """DeepSpeed ZeRO 3: optimiser state, gradients and weights are shared out.

    Args:
        offload: optimizer keeps optimiser state on the CPU and steps there; all keeps weights there too.
        config: entries of DeepSpeed's own config, which win.
        timeout_minutes: how long a rank waits for the others before it gives up.
    """
    return _zero(3, offload, config, timeout_minutes)


def check(strategy: dict[str, Any], trainer: Any, stage: Any, compiled: bool) -> None:
    """What a strategy cannot do, said before anything is written.

    Args:
        strategy: the section of the config.
        trainer: the TrainerOptions.
        stage: the stage, built.
        compiled: whether the network is compiled.

    Raises:
        ConfigError: with what to change.
    """
    name = strategy["name"]
    on_cpu = trainer.accelerator == "cpu"
    if on_cpu and trainer.precision.startswith("16"):
        raise ConfigError(
            f"trainer.precision={trainer.precision}: fp16 does not exist on a CPU; use bf16-mixed or 32-true"
        )
    if trainer.precision in ("16-true", "bf16-true"):
        mixed = trainer.precision.replace("true", "mixed")
        raise ConfigError(
            f"trainer.precision={trainer.precision}: weights of 16 bits lose small steps, the moving average and the "
            f"statistics of the data; use {mixed}, which computes in 16 bits and keeps weights in 32"
        )
    if not stage.automatic_optimization and trainer.accumulate_grad_batches > 1:
        raise ConfigError(
            f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}: {type(stage).__name__} has several "
            "optimisers and steps them itself, after every batch; use a larger data.batch_size"
        )
    if name in ("auto", "ddp"):
        return
    precisions = ("32-true", "32", "bf16-mixed") + (() if name == "fsdp" else ("16-mixed",))
    if trainer.precision not in precisions:
        raise ConfigError(
            f"trainer.precision={trainer.precision}: strategy={name} takes {', '.join(precisions)}; weights stay in "
            "full precision"
        )
    if name.startswith("deepspeed") and trainer.gradient_clip_val and trainer.gradient_clip_algorithm == "value":
        raise ConfigError("trainer.gradient_clip_algorithm=value: DeepSpeed clips by norm only; use norm, ddp or fsdp")
    if compiled and name == "deepspeed_3":
        raise ConfigError(
            "compile.enabled=true: ZeRO 3 gathers weights in hooks that break up the graph; use deepspeed_2 or fsdp"
        )
    from trainers.engines.strategy import parts_of

    parts_of(stage, name)


def _zero(stage: int, offload: str, config: dict[str, Any], timeout: float) -> Any:
    if offload == "all" and stage < 3:
        raise ConfigError(
            f"strategy.offload=all: deepspeed_{stage} keeps whole weights on every device; use deepspeed_3, or "
            "strategy.offload=optimizer"
        )
    if find_spec("deepspeed") is None:
        raise ConfigError(
            f"strategy=deepspeed_{stage}: DeepSpeed is not installed; run `pip install deepspeed==0.19.8`"
        )
    from trainers.engines.zero import Zero

    return Zero(stage, offload, config, timeout=_minutes(timeout))


def _minutes(minutes: float) -> Any:
    from datetime import timedelta

    return timedelta(minutes=minutes)
