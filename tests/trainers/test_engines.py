"""What strategies ask of DeepSpeed and FSDP: losses agree either way, so it is read from the request."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy

from trainers.engines import fsdp as fsdp_module
from trainers.engines.strategies import STRATEGIES
from trainers.engines.zero import ZeroPrecision


def on_cpu(options: dict[str, Any], precision: str) -> Any:
    """A strategy as before training, in one process."""
    strategy = STRATEGIES.build(options)
    strategy.precision_plugin = ZeroPrecision(precision)
    strategy.parallel_devices = [torch.device("cpu")]
    strategy.cluster_environment = SimpleNamespace(local_rank=lambda: 0, global_rank=lambda: 0)
    return strategy


def zero_config(level: int, precision: str = "32-true", clip: float | None = None, **options: Any) -> dict[str, Any]:
    """What DeepSpeed is given for a part of a stage."""
    strategy = on_cpu({"name": f"deepspeed_{level}", **options}, precision)
    strategy._lightning_module = SimpleNamespace(clip=None)
    return strategy._engine_config(nn.Linear(3, 4), SimpleNamespace(gradient_clip_val=clip))


@pytest.mark.parametrize("level", [1, 2, 3])
def test_zero_is_told_its_level_clipping_and_bucket(level):
    config = zero_config(level, clip=0.7)
    assert config["zero_optimization"]["stage"] == level
    assert config["gradient_clipping"] == 0.7
    assert config["zero_optimization"]["reduce_bucket_size"] == 3 * 4 + 4
    assert zero_config(level)["gradient_clipping"] == 0


@pytest.mark.parametrize(
    ("level", "offload", "held"),
    [
        (1, "none", set()), (3, "none", set()), (2, "optimizer", {"offload_optimizer"}),
        (3, "optimizer", {"offload_optimizer"}), (3, "all", {"offload_optimizer", "offload_param"}),
    ],
)  # fmt: skip
def test_zero_is_told_what_to_keep_on_the_cpu(level, offload, held):
    asked = zero_config(level, offload=offload)["zero_optimization"]
    assert {name for name in asked if name.startswith("offload")} == held
    assert all(asked[name]["device"] == "cpu" for name in held)
    more = zero_config(level, offload=offload, config={"zero_optimization": {"overlap_comm": True}})
    assert more["zero_optimization"] == asked | {"overlap_comm": True}, "one's own options come on top"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("32-true", None), ("bf16-mixed", "bfloat16"), ("16-mixed", "float16")]
)
def test_zero_is_told_of_autocast(precision, dtype):
    assert zero_config(2, precision).get("torch_autocast") == (dtype and {"enabled": True, "dtype": dtype})


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_steps_under_zero_run_in_the_precision_that_was_asked_for(precision, dtype):
    layer = nn.Linear(3, 4)
    with ZeroPrecision(precision).forward_context():
        assert layer(torch.ones(2, 3)).dtype == dtype
    assert layer.weight.dtype == torch.float32


@pytest.mark.parametrize("offload", ["none", "all"])
@pytest.mark.parametrize(("precision", "dtype"), [("32-true", None), ("bf16-mixed", torch.bfloat16)])
def test_fsdp_is_told_of_precision_and_of_what_to_keep_on_the_cpu(offload, precision, dtype, monkeypatch):
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(fsdp_module, "fully_shard", lambda module, **options: asked.append(options))
    monkeypatch.setattr(torch.distributed, "broadcast", lambda *args: None)
    strategy = on_cpu({"name": "fsdp", "offload": offload}, precision)
    strategy._device_mesh = {"data_parallel": None}
    strategy._share_out(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3)))
    assert asked
    for options in asked:
        kept = options["offload_policy"]
        assert isinstance(kept, CPUOffloadPolicy) if offload == "all" else type(kept) is OffloadPolicy
        assert options["mp_policy"].param_dtype == dtype
        assert options["mp_policy"].reduce_dtype == (torch.float32 if dtype else None)
