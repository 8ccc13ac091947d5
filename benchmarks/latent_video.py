"""What benchmarks of latent video share: acts in turns, bytes that a forward pass keeps, calls of a network's parts.

The first turn warms up and is not counted.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn


def autoencoder_at(folder: Path) -> Path:
    """A random autoencoder of the tiny config's size, saved as diffusers does."""
    torch.manual_seed(0)
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    sizes = {"block_out_channels": (16, 48, 96), "layers_per_block": 1, "norm_num_groups": 8, "latent_channels": 4}
    AutoencoderKL(**kinds, **sizes, mid_block_add_attention=False).save_pretrained(folder)
    return folder


def kept_bytes(network: nn.Module, call: Callable[[], Tensor]) -> int:
    """Bytes of what a forward pass saves; a tensor that is saved twice counts once, weights do not."""
    own = {id(parameter) for parameter in network.parameters()}
    seen: dict[int, Tensor] = {}

    def keep(value: Tensor) -> Tensor:
        base = value if value._base is None else value._base
        if id(base) not in own:
            seen[id(base)] = base  # held, so that no other tensor gets its id
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        output = call()
    assert output is not None
    return sum(base.numel() * base.element_size() for base in seen.values())


def in_turns(repeats: int, **acts: Callable[[], Any]) -> dict[str, list[float]]:
    """Seconds of each act, in turns; the first turn warms up and is not counted."""
    took: dict[str, list[float]] = {name: [] for name in acts}
    for turn in range(repeats + 1):
        for name, act in acts.items():
            start = time.perf_counter()
            act()
            if turn:
                took[name].append(time.perf_counter() - start)
    return took


def compared(took: dict[str, list[float]]) -> dict[str, float]:
    """Median seconds of two acts, and the median ratio of the second to the first, turn by turn."""
    (one, first), (other, second) = took.items()
    ratio = statistics.median(b / a for a, b in zip(first, second, strict=True))
    return {f"{one} s": statistics.median(first), f"{other} s": statistics.median(second), "ratio": ratio}


def calls_of(parts: Mapping[str, nn.Module], act: Callable[[], Any]) -> dict[str, dict[str, int]]:
    """How often an act calls parts of a network (`calls`), and with how many rows in all (`rows`)."""
    calls: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    hooks = []
    for name, part in parts.items():

        def count(module: nn.Module, args: tuple[Tensor, ...], name: str = name) -> None:
            calls[name] += 1
            rows[name] += len(args[0])

        hooks.append(part.register_forward_pre_hook(count))
    act()
    for hook in hooks:
        hook.remove()
    return {"calls": dict(calls), "rows": dict(rows)}


def by_length(make: Callable[[int], Any], lengths: tuple[int, ...], repeats: int) -> list[dict[str, float]]:
    """Seconds a frame of clips of several lengths, in turns."""
    took = in_turns(repeats, **{str(frames): lambda frames=frames: make(frames) for frames in lengths})
    return [
        {
            "frames": int(frames),
            "s": statistics.median(each),
            "ms a frame": 1000 * statistics.median(each) / int(frames),
        }
        for frames, each in took.items()
    ]
