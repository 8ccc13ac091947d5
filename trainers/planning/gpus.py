"""GPUs that a plan can be made for: figures of their makers, each with its source."""

from dataclasses import dataclass
from typing import Final

from settings import ConfigError
from settings.registry import nearest

GIB: Final = 2**30


@dataclass(frozen=True)
class GPU:
    """What a GPU can do, and how it is wired in a server of eight.

    Attributes:
        name: as on the command line.
        memory: bytes of device memory. Makers say GB and mean GiB: an "80 GB" card shows 79.1 to 79.6 GiB to CUDA.
        bf16: dense floating-point operations a second in bf16 and fp16, without sparsity.
        fp32: the same in fp32, outside of tensor cores, as PyTorch multiplies fp32 matrices unless told otherwise.
        fp64: the same in fp64, on tensor cores.
        nvlink: bytes a second that leave a GPU for others of its node: half of what is advertised for both directions;
            of a card without, PCIe's.
        nic: bytes a second that leave a node for others, for each of its GPUs.
        source: where the figures stand.
    """

    name: str
    memory: float
    bf16: float
    fp32: float
    fp64: float
    nvlink: float
    nic: float
    source: str


_A100 = {
    "bf16": 312e12,  # data sheet: BFLOAT16 Tensor Core 312 TFLOPS (624 with sparsity)
    "fp32": 19.5e12,  # data sheet: FP32 19.5 TFLOPS
    "fp64": 19.5e12,  # data sheet: FP64 Tensor Core 19.5 TFLOPS
    "nvlink": 300e9,  # data sheet: NVLink 600 GB/s, both directions together
    "nic": 25e9,  # DGX A100 data sheet: 8 single-port ConnectX-6 VPI at 200 Gb/s, one for each GPU
    "source": "NVIDIA A100 Tensor Core GPU data sheet (SXM); DGX A100 data sheet (network)",
}
_HOPPER = {
    "bf16": 989.4e12,  # H100 data sheet, SXM: BFLOAT16 Tensor Core 1,979 TFLOPS with sparsity, half of it without
    "fp32": 67e12,  # H100 data sheet, SXM: FP32 67 TFLOPS
    "fp64": 67e12,  # H100 data sheet, SXM: FP64 Tensor Core 67 TFLOPS
    "nvlink": 450e9,  # H100 data sheet, SXM: NVLink 900 GB/s, both directions together
    "nic": 50e9,  # DGX H100/H200 data sheet: 8 ConnectX-7 at 400 Gb/s, one for each GPU
}

GPUS: Final[dict[str, GPU]] = {
    gpu.name: gpu
    for gpu in (
        GPU(
            name="rtx4090",
            memory=24 * GIB,  # Ada white paper: 24 GB
            bf16=165.2e12,  # Ada white paper: BF16 Tensor TFLOPS with FP32 accumulate, without sparsity
            fp32=82.6e12,  # Ada white paper: FP32 TFLOPS
            fp64=1.29e12,  # Ada white paper: 1/64 of FP32
            nvlink=32e9,  # none; PCIe 4.0 x16, one direction
            nic=25e9,  # as a server may have: 200 Gb/s for each card
            source="NVIDIA Ada GPU architecture white paper (GeForce RTX 4090; PCIe in the place of NVLink)",
        ),
        GPU(name="a100-40", memory=40 * GIB, **_A100),  # type: ignore[arg-type]
        GPU(name="a100-80", memory=80 * GIB, **_A100),  # type: ignore[arg-type]
        GPU(
            name="h100",
            memory=80 * GIB,  # H100 data sheet, SXM: 80 GB
            source="NVIDIA H100 Tensor Core GPU data sheet (SXM); DGX H100 data sheet (network)",
            **_HOPPER,  # type: ignore[arg-type]
        ),
        GPU(
            name="h800",
            memory=80 * GIB,  # H800 product brief, SXM: 80 GB
            source=(
                "NVIDIA H800 product brief (SXM: the H100's chip, NVLink 400 GB/s, FP64 1 TFLOPS); network as DGX H100"
            ),
            **_HOPPER  # type: ignore[arg-type]
            | {
                "nvlink": 200e9,  # H800 product brief, SXM: NVLink 400 GB/s, both directions together
                "fp64": 1e12,  # H800 product brief, SXM: FP64 1 TFLOPS
            },
        ),
        GPU(
            name="h200",
            memory=141 * GIB,  # H200 data sheet, SXM: 141 GB
            source="NVIDIA H200 Tensor Core GPU data sheet (SXM); DGX H200 data sheet (network)",
            **_HOPPER,  # type: ignore[arg-type]
        ),
    )
}

ALIASES: Final = {"a100": "a100-80"}


def gpu(name: str) -> GPU:
    """A GPU by its name or alias. Raises ConfigError with those that are known."""
    name = ALIASES.get(name.lower(), name.lower())
    if name not in GPUS:
        known = [*GPUS, *ALIASES]
        raise ConfigError(f"gpu={name}: not known; {nearest(name, known)} (there are {', '.join(known)})")
    return GPUS[name]


def named(device: str) -> GPU | None:
    """The GPU that CUDA calls so; None where it is none of these, or a card for PCIe, which is slower."""
    name = device.lower()
    if "pcie" in name or "nvl" in name:
        return None
    if "a100" in name:
        return GPUS["a100-80" if "80gb" in name else "a100-40"]
    return next((card for known, card in GPUS.items() if known in name), None)
