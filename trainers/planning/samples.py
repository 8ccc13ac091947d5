"""A batch as the datamodule would give it, of numbers from nowhere: shapes are all that a plan needs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from datamodules.batch import Batch
from datamodules.clip import ARRAYS, SAMPLE_RATE, SPEECH_RATE
from datamodules.shards.samples import WHOLE

FPS = 25.0
LONGEST = 30.0  # seconds of a clip
PICTURE = (512, 512)
MOTION_RATE = 20
MOTION, APPEARANCE = 768, 512  # of implicit motion's base network
SPEECH_CHANNELS, SPEECH_LAYERS = 1024, 1  # of a large pretrained model; layers are averaged
LETTERS = {"L": 478, "E": 10, "K": 10, "C": 3}  # sizes that the clip schema leaves open: MediaPipe's and SMPL-X's


def sample_batch(
    needs: tuple[str, ...], data: Mapping[str, Any], stage: Mapping[str, Any], size: int, device: str = "meta"
) -> Batch:
    """A batch with what a stage needs.

    Args:
        needs: keys of a clip.
        data: the config's data section: `window` or `window_seconds`, `windows`, `video_size`, `speech_layers`.
        stage: the config's stage section: `fps`, and the network's `audio_channels` where speech comes from a
            pretrained model.
        size: windows B.
        device: where it is made.
    """
    stage = {**stage, **stage.get("network", {})}
    fps = float(stage.get("fps") or FPS)
    frames = _frames(data, fps)
    height, width = data.get("video_size") or PICTURE

    def floats(*shape: int) -> Tensor:
        return torch.rand(size, *shape, device=device)

    def arrays(key: str) -> dict[str, Tensor]:
        sizes: dict[Any, int] = {"T": frames, **LETTERS}
        return {name: floats(*(int(sizes.get(s, s)) for s in array.shape)) for name, array in ARRAYS[key].items()}

    batch = Batch(
        ids=[f"clip-{number:06d}@0" for number in range(size)],
        starts=torch.zeros(size, dtype=torch.long, device=device),
        fps=fps,
    )
    if "pose.npz" in needs:
        batch.pose = floats(frames, 134, 3)
    if "audio.flac" in needs:
        batch.audio = floats(round(frames / fps * SAMPLE_RATE))
    if "video.mp4" in needs:
        batch.video = torch.zeros(size, frames, 3, height, width, dtype=torch.uint8, device=device)
    if "face.npz" in needs:
        batch.face = arrays("face.npz")
    if "implicit.npz" in needs:
        appearance = floats(int(stage.get("appearance_channels") or APPEARANCE))
        batch.implicit = {"motion": floats(frames, MOTION), "appearance": appearance}
    if "smplx.npz" in needs:
        batch.smplx = arrays("smplx.npz")
    if any(key.startswith(WHOLE) for key in needs):
        longest = round(LONGEST * fps)
        batch.whole = {"frames": torch.full((size, 1), longest, device="cpu")}
        if f"{WHOLE}audio.flac" in needs:
            batch.whole["audio"] = floats(round(LONGEST * SAMPLE_RATE))
        if f"{WHOLE}speech.npz" in needs:
            batch.whole["speech"] = floats(longest, 35)
    if "motion.npz" in needs:
        batch.motion = floats(round(frames / fps * MOTION_RATE), 263)
    if "latents.npz" in needs:
        batch.latents = floats(frames, 4, height // 8, width // 8)
    if "speech.npz" in needs:
        known = ARRAYS["speech.npz"]["handcrafted"].shape[1]
        batch.speech = floats(frames, int(known))
        layers = data.get("speech_layers")
        channels = int(stage.get("audio_channels") or 0) - int(known)
        if layers or channels > 0:
            steps = round(frames / fps * SPEECH_RATE)
            batch.speech_layers = floats(
                len(layers) if layers else SPEECH_LAYERS, steps, channels if channels > 0 else SPEECH_CHANNELS
            )
    return batch


def _frames(data: Mapping[str, Any], fps: float) -> int:
    """Frames of a window; of the longest clip where whole clips are read."""
    if data.get("windows") == "clip":
        return round(LONGEST * fps)
    if data.get("window_seconds"):
        return max(1, round(data["window_seconds"] * fps))
    return int(data.get("window") or 80)
