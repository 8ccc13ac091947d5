"""The peak that MFU is a share of."""

import pytest
import torch

from trainers.callbacks import throughput
from trainers.planning.gpus import GPUS, named


@pytest.mark.parametrize("device", ["NVIDIA H200", "NVIDIA H800", "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"])
def test_mfu_is_known_of_every_gpu_that_can_be_planned_for(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning knows no H200."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: device)
    card = named(device)
    assert card is not None
    cuda = torch.device("cuda")
    assert throughput._peak(cuda, torch.bfloat16) == throughput._peak(cuda, torch.float16) == card.bf16
    assert throughput._peak(cuda, torch.float32) == card.fp32
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert throughput._peak(cuda, torch.float32) == card.bf16 / 2


def test_other_gpus_peaks_are_lightnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "get_available_flops", lambda device, dtype: 7)
    for device in ("NVIDIA H100 PCIe", "NVIDIA L4"):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_, name=device: name)
        assert throughput._peak(torch.device("cuda"), torch.bfloat16) == 7
    assert named("NVIDIA H200") is GPUS["h200"]
