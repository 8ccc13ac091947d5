"""Latent video diffusion: what a step keeps, what caches save, what is computed once, what the framework costs.

    python -m benchmarks.video [PART ...] [--repeats 7] [--size 64] [--quick]

Parts: activations (bytes kept for the backward pass with gradient checkpointing and without, both UNets, counted, not
timed, at tiny sizes and at the paper's 12 x 512 x 512 on the meta device); cached (a training step from latents
in shards beside one that encodes its frames); once (calls for a clip; sampling beside sampling that encodes its
conditions at every step); tax (fit beside a bare loop of the same step); length (seconds a frame by length); versa
(activations, once and length of VersaAnimator's network, SVD's UNet with attention to the face). What is compared takes
turns in one process; the first turn warms up and is not counted; figures are medians, ratios those of
neighbouring turns. Seeds are 0. Writes `benchmarks/results/video-DATE.json`.
"""

import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from benchmarks import video_versa
from benchmarks.arguments import Parser
from benchmarks.framework_tax import OneBatch, Taxed, taxes
from benchmarks.latent_video import autoencoder_at, by_length, calls_of, compared, in_turns, kept_bytes
from benchmarks.machine import describe, write_result
from benchmarks.training import train
from datamodules.batch import Batch
from models.mmgt.video import MMGTVideo
from models.mmgt.video_generate import Driving, VideoSource, generate_latents
from models.mmgt.video_sample import sample_window
from models.video.conditions import VideoInputs
from models.video.latents import encode
from trainers.mmgt.video_pose import VideoPoseStage
from trainers.stage.latents import Latents
from trainers.stages import DATAMODULES, STAGES

FACTOR: Final = 4
TINY: Final[dict[str, Any]] = {
    "channels": [48, 96, 96], "layers": 1, "heads": 4, "cross_channels": 64, "norm_groups": 8, "downscaling": FACTOR,
    "motion_heads": 4, "image_channels": 0, "audio_layers": 1, "audio_channels": 35, "audio_tokens": 4,
    "audio_width": 64, "pose_channels": [24, 48, 64], "predict": "v", "zero_terminal_snr": True, "window": 8,
    "guidance_reference": 1.0, "guidance_pose": 1.0, "guidance_audio": 1.0,
}  # fmt: skip
STEPS: Final = 20
LENGTHS: Final = (12, 24, 48, 96)
FRAMES: Final = 8
CLIPS: Final = 4


def batch_of(size: int, sha256: str, cached: bool) -> Batch:
    """Windows with random poses and speech, and their latents or frames of `size` pixels."""
    draw = torch.Generator().manual_seed(0)
    side = size // FACTOR
    arrays: dict[str, dict[str, Tensor]] = {}
    if cached:
        network = torch.tensor(list(bytes.fromhex(sha256)), dtype=torch.uint8).expand(CLIPS, -1)
        moments = torch.randn(2, CLIPS, FRAMES, 4, side, side, generator=draw)
        arrays["latents"] = {"mean": moments[0].half(), "log_variance": moments[1].half() - 6, "network": network}
    pose = torch.rand(CLIPS, FRAMES, 134, 3, generator=draw) * 0.4 + 0.3
    pose[..., 2] = 1
    video = torch.randint(0, 256, (CLIPS, FRAMES, 3, size, size), dtype=torch.uint8, generator=draw)
    return Batch(
        ids=[f"clip-{i}@0" for i in range(CLIPS)],
        starts=torch.zeros(CLIPS, dtype=torch.long),
        fps=25.0,
        pose=pose,
        speech=torch.randn(CLIPS, FRAMES, 35, generator=draw),
        video=None if cached else video,
        arrays=arrays,
    )


def random_inputs(network: MMGTVideo, size: int, frames: int, device: str = "cpu") -> VideoInputs:
    """Random conditions of one clip for square frames of `size` pixels."""
    draw = None if device == "meta" else torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(1, *shape, device=device, generator=draw)

    side = size // network.downscaling
    return VideoInputs(
        reference=normal(network.latent_channels, side, side),
        image=normal(1, network.image_channels) if network.image_channels else None,
        skeletons=normal(frames, 3, size, size),
        audio=normal(frames, *network.audio_projection.shape),
        masks=None if device == "meta" else torch.rand(1, frames, 3, size, size, generator=draw),
    )


def activations(network: MMGTVideo, size: int, frames: int, device: str = "cpu") -> dict[str, float]:
    """MB kept for the backward pass beside weights and inputs, without and with checkpointing, and their ratio."""
    network.train()
    given, side = random_inputs(network, size, frames, device), size // network.downscaling
    noisy = torch.randn(1, network.latent_channels, frames, side, side, device=device)
    levels = torch.zeros(1, dtype=torch.long, device=device)
    kept = []
    for recompute in (False, True):
        network.denoiser.recompute = network.reference_unet.recompute = recompute
        kept.append(kept_bytes(network, lambda: network(noisy, levels, given)))
    return {"kept MB": kept[0] / 1e6, "with checkpointing MB": kept[1] / 1e6, "ratio": kept[1] / kept[0]}


def cached(folder: Path, size: int, repeats: int) -> dict[str, float]:
    """A training step of `video_pose` from cached latents, and one that encodes its frames."""
    where = autoencoder_at(folder / "vae")
    torch.manual_seed(0)
    stage = VideoPoseStage(network=TINY, autoencoder=str(where)).train()
    stage.log = lambda *given, **options: None  # type: ignore[method-assign]
    sha256 = stage.latents.sha256
    batches = {"cached": batch_of(size, sha256, True), "encoded": batch_of(size, sha256, False)}

    def step(batch: Batch) -> None:
        stage.zero_grad()
        stage.training_step(batch, 0).backward()

    took = in_turns(repeats, **{name: lambda batch=batch: step(batch) for name, batch in batches.items()})
    return compared(took)


def once(folder: Path, size: int, repeats: int) -> dict[str, Any]:
    """Calls for a clip of one window, and seconds beside sampling that encodes its conditions at every step."""
    vae = AutoencoderKL.from_pretrained(autoencoder_at(folder / "vae-once")).eval()
    torch.manual_seed(0)
    network = MMGTVideo(**TINY).eval()
    given = random_inputs(network, size, FRAMES)
    noise = torch.randn(1, 4, FRAMES, size // FACTOR, size // FACTOR)
    picture = torch.zeros(1, 3, size, size, dtype=torch.uint8)

    def whole() -> None:
        source = VideoSource(FRAMES, encode(vae, picture)[0], lambda begin, end: _part(given, begin, end))
        for _ in generate_latents(network, source, steps=STEPS):
            pass

    parts = {
        "VAE encoder": vae.encoder, "reference UNet": network.reference_unet, "pose guider": network.pose_guider,
        "audio projection": network.audio_projection, "denoiser": network.denoiser,
    }  # fmt: skip
    counts = calls_of(parts, whole)
    took = in_turns(repeats, once=whole, **{"every step": lambda: sample_window(network, given, noise, steps=STEPS)})
    return {"steps": STEPS, "frames": FRAMES, **counts, **compared(took)}


def _part(given: VideoInputs, begin: int, end: int) -> Driving:
    """What drives some frames of a clip whose conditions are repeated without end."""
    at = torch.arange(begin, end) % FRAMES
    return Driving(**{each.name: getattr(given, each.name)[:, at] for each in fields(Driving)})


def length(size: int, repeats: int) -> list[dict[str, float]]:
    """Seconds a frame of clips of several lengths, in turns."""
    torch.manual_seed(0)
    network = MMGTVideo(**TINY).eval()
    given = random_inputs(network, size, FRAMES)

    def make(frames: int) -> None:
        source = VideoSource(frames, given.reference, lambda begin, end: _part(given, begin, end))
        for _ in generate_latents(network, source, steps=4):
            pass

    return by_length(make, LENGTHS, repeats)


class OneVideoBatch(OneBatch):
    """The same windows with latents again and again.

    Args:
        autoencoder: whose latents they are said to be.
        size: pixels of a side.
    """

    def __init__(self, keys: tuple[str, ...], *, autoencoder: str, size: int):
        super().__init__(keys)
        self.batch = batch_of(size, Latents("data.autoencoder", autoencoder).sha256, True)


class TaxedVideo(Taxed, VideoPoseStage):
    """`video_pose` at tiny sizes that times itself.

    Args:
        autoencoder: whose latents.
        block: steps in a block.
    """

    def __init__(self, *, autoencoder: str, block: int):
        self.options: dict[str, Any] = {"network": TINY, "autoencoder": autoencoder}
        super().__init__(**self.options)
        self.watch(block)

    def make_twin(self) -> VideoPoseStage:
        """See `Taxed`."""
        return VideoPoseStage(**self.options)


def tax(folder: Path, size: int, blocks: int, block: int = 5) -> dict[str, Any]:
    """What `trainers.fit` adds to a step."""
    STAGES.add("taxed video", TaxedVideo)
    DATAMODULES.add("one video batch", OneVideoBatch)
    where = autoencoder_at(folder / "vae-tax")
    train(
        "stage=taxed video", f"stage.autoencoder={where}", f"stage.block={block}",
        "data=one video batch", f"data.autoencoder={where}", f"data.size={size}",
        f"trainer.max_steps={block * (blocks + 2)}", "trainer.accelerator=cpu", f"trainer.log_every_n_steps={block}",
        "trainer.limit_val_batches=0", "checkpoint.every_n_steps=1000000000", "checkpoint.monitor=null",
        f"run={folder}/run",
    )  # fmt: skip
    return taxes(Taxed.latest)


PARTS: Final = ("activations", "cached", "once", "tax", "length", "versa")


def measure(part: str, folder: Path, size: int, repeats: int) -> Any:
    """The figures of one part."""
    if part == "activations":
        torch.manual_seed(0)
        tiny = activations(MMGTVideo(**TINY), size, FRAMES)
        with torch.device("meta"):
            paper = MMGTVideo()
        return {"tiny": tiny, "paper, 12 x 512 x 512, fp32": activations(paper, 512, 12, "meta")}
    if part == "length":
        return length(size, repeats)
    if part == "versa":
        return video_versa.measure(folder, size, repeats)
    with_folder: dict[str, Callable[[Path, int, int], Any]] = {"cached": cached, "once": once, "tax": tax}
    return with_folder[part](folder, size, repeats)


def main() -> None:
    """The command."""
    parser = Parser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each, pairs of blocks of the tax")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side of square frames")
    parser.add_argument("--quick", action="store_true", help="two turns, nothing written")
    words = parser.parse_args()
    unknown = [part for part in words.parts if part not in PARTS]
    if unknown:
        parser.error(f"no part is called {unknown[0]}; there are {', '.join(PARTS)}")
    found = {}
    for part in words.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            found[part] = measure(part, Path(folder), words.size, 2 if words.quick else words.repeats)
        print(part, found[part], flush=True)
    if not words.quick:
        print(write_result("video", {"machine": describe(), "size": words.size, "parts": found}))


if __name__ == "__main__":
    main()
