"""What a plan says."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrainingPlan:
    """What a training will take; sizes in bytes, times in seconds.

    Attributes:
        stage, strategy, precision, batch_size: of the config.
        gpu, gpus, source: what it is planned for, and where the GPU's figures stand.
        parameters: trained elements.
        memory: of each GPU, by part (`trainers.planning.memory.MEANINGS`).
        host: of the machine for each GPU, where something is offloaded.
        total, limit, fits: most bytes at once, what the GPU leaves, and whether that is enough.
        operations: floating-point operations of one batch, forward and backward.
        measured: how the step was measured.
        assumed: what no data sheet says.
        scaling: for 1, 8, 16, ... GPUs.
        training: batches of the whole training, its hours and GPU-hours, and the same with bf16-mixed where it is fp32;
            empty where its length is not known (an epoch's windows: `windows=`).
        advice: what would make it faster, in words.
        changes: what would save memory, most first; only where it does not fit.
        said: why it is refused and what would help, in words; empty where it fits.
    """

    stage: str
    strategy: str
    precision: str
    batch_size: int
    gpu: str
    gpus: int
    source: str
    parameters: int
    memory: dict[str, float]
    host: dict[str, float]
    total: float
    limit: float
    fits: bool
    operations: int
    measured: str
    assumed: dict[str, float]
    scaling: list[dict[str, float]]
    training: dict[str, float]
    advice: list[str]
    changes: list[dict[str, Any]]
    said: str
