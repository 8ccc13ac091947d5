"""A batch as the datamodule would give it, of numbers from nowhere: shapes are all that a plan needs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.batch import Batch
from datamodules.collate import fields_of
from datamodules.keys import KEYS, RATES, WindowArray, keys_read
from datamodules.shards.samples import WHOLE

FPS = 25.0
LONGEST = 30.0  # seconds of a clip
PICTURE = (512, 512)


def sample_batch(
    needs: tuple[str, ...], data: Mapping[str, Any], stage: Mapping[str, Any], size: int, device: str = "meta"
) -> Batch:
    """A batch with what a stage needs.

    Args:
        needs: keys of a clip.
        data: the config's data section: `window` or `window_seconds`, `windows`, `video_size`, `latents`,
            `speech_layers`.
        stage: the config's stage section: `fps`; the network's `audio_channels` where speech comes from a pretrained
            model, or `speech_layers`, how many it reads and their channels; `latent_channels` and `downscaling` where
            it reads latents.
        size: windows B.
        device: where it is made.
    """
    stage = {**stage, **stage.get("network", {})}
    fps = float(stage.get("fps") or FPS)
    frames = _frames(data, fps)
    height, width = data.get("video_size") or PICTURE
    factor = int(stage.get("downscaling") or 8)
    sizes = {"H": height, "W": width, "h": -(-height // factor), "w": -(-width // factor)}
    sizes |= {letter: round(frames / fps * (rate or fps)) for letter, rate in RATES.items()}
    longest = {letter: round(LONGEST * (rate or fps)) for letter, rate in RATES.items()}
    values = {**stage, **_layers(data, stage)}

    def random_array(place: WindowArray, sizes: Mapping[str, int]) -> Tensor:
        array = place.array
        shape = [size if isinstance(size, int) else {**array.usual, **sizes}[size] for size in array.shape]
        if place.field.startswith(("latents.", "pair.")) and "C" in array.shape and stage.get("latent_channels"):
            shape[array.shape.index("C")] = int(stage["latent_channels"])
        if array.channels in values and isinstance(array.shape[-1], str):
            shape[-1] = int(values[array.channels])
        if place.field == "speech_layers" and (read := stage.get("speech_layers")):
            shape[0] = read[0]
        elif place.field == "speech_layers" and data.get("speech_layers"):
            shape[0] = len(data["speech_layers"])
        if not np.issubdtype(array.dtype, np.floating):
            return torch.zeros(size, *shape, dtype=getattr(torch, array.dtype), device=device)
        return torch.rand(size, *shape, device=device)

    arrays: dict[str, Tensor] = {}
    for name in keys_read(needs, data.get("latents") or "cached"):
        key, whole = KEYS[name.removeprefix(WHOLE)], name.startswith(WHOLE)
        for place in key.in_full if whole else key.places:
            if place.array.optional and place.array.channels not in values:
                continue
            arrays[f"whole.{place.field}" if whole else place.field] = random_array(place, longest if whole else sizes)
        if whole:
            arrays["whole.frames"] = torch.full((size, 1), longest["T"], device="cpu")
    return Batch(
        ids=[f"clip-{number:06d}@0" for number in range(size)],
        starts=torch.zeros(size, dtype=torch.long, device=device),
        fps=fps,
        **fields_of(arrays),
    )


def _layers(data: Mapping[str, Any], stage: Mapping[str, Any]) -> dict[str, int]:
    """Channels of a pretrained model's layers, where a config reads any: what comes behind the hand-crafted ones."""
    if stage.get("speech_layers"):
        return {"layer_channels": stage["speech_layers"][1]}
    handcrafted, layers = (KEYS["speech.npz"].arrays[name] for name in ("handcrafted", "layers"))
    channels = int(stage.get("audio_channels") or 0) - int(handcrafted.shape[-1])
    if channels > 0 or data.get("speech_layers"):
        return {"layer_channels": channels if channels > 0 else layers.usual["C"]}
    return {}


def _frames(data: Mapping[str, Any], fps: float) -> int:
    """Frames of a window; of the longest clip where whole clips are read."""
    if data.get("windows") == "clip":
        return round(LONGEST * fps)
    if data.get("window_seconds"):
        return max(1, round(data["window_seconds"] * fps))
    return int(data.get("window") or 80)
