"""Parts of `benchmarks.gpu` that train: every stage a few steps on a CPU and a GPU, and one for some minutes."""

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from benchmarks import training
from benchmarks.gpu_rows import Options, Row, run
from benchmarks.ranks import ROOT
from preprocessing.features.run import Options as FeatureOptions
from preprocessing.features.run import make_features
from trainers.stage.base import SampleGenerator, Stage
from trainers.tracking.metrics_csv import read_metrics

CHAIN: Final = {
    "mmgt/smga": ("talking", ("stage.network.dropout=0",)),
    "human/pose_autoencoder": ("talking", ()),
    "implicit_motion/base": ("talking", ()),
    "implicit_motion/motion": ("features", ()),
    "versa/tokenizer": ("motion", ()),
    "versa/text_motion": ("motion", ("stage.network.dropout=0", "stage.network.text_dropout=0",
    "stage.tokenizer={tokenizer}")),
    "versa/audio_motion": (
        "motion", ("stage.network.dropout=0", "stage.tokenizer={tokenizer}", "stage.text_motion={text_motion}"),
    ),
    "versa/evaluator": ("motion", ()),
}  # fmt: skip
"""Folder of a stage's configs to the shards it reads, and further words: dropout draws other numbers on a GPU."""


class OneNoise(SampleGenerator):
    """Numbers drawn on the CPU and brought to the device, so that both compute with the same ones."""

    def __init__(self, keys: list[str], device: torch.device | str):
        super().__init__(keys, "cpu")
        self.at = torch.device(device)

    def normal(self, *shape: int) -> Tensor:
        return super().normal(*shape).to(self.at)

    def uniform(self, *shape: int) -> Tensor:
        return super().uniform(*shape).to(self.at)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        return super().integers(low, high, *shape).to(self.at)


@contextlib.contextmanager
def same_arithmetic() -> Iterator[None]:
    """A while in which noise comes from the CPU, and convolutions of a GPU keep all bits of fp32."""
    draw, tf32 = Stage.generator, torch.backends.cudnn.allow_tf32

    def generator(self: Stage, batch: Any) -> SampleGenerator:
        epoch = self.current_epoch if self.training else "validation"
        return OneNoise([f"{self.seed}/{epoch}/{sample}" for sample in batch.ids], self.device)

    Stage.generator, torch.backends.cudnn.allow_tf32 = generator, False  # type: ignore[method-assign]
    try:
        yield
    finally:
        Stage.generator, torch.backends.cudnn.allow_tf32 = draw, tf32  # type: ignore[method-assign]


def train(place: str, out: Path, device: str, steps: int, *words: str) -> Path:
    """A training of a `tiny` config by the command's own function; the run folder."""
    common = [
        f"run={out}", f"trainer.accelerator={device}", "trainer.devices=1", f"trainer.max_steps={steps}",
        "trainer.log_every_n_steps=1", "trainer.limit_val_batches=0", "trainer.enable_progress_bar=false",
        "checkpoint.monitor=null", f"checkpoint.every_n_steps={steps // 2}", "samples.count=0", "data.batch_size=4",
        "ema.decay=0.9",
    ]  # fmt: skip
    if device == "gpu":
        torch.cuda.reset_peak_memory_stats()
    training.train("--config", f"{place}/tiny", *common, *words)
    return out


def losses(folder: Path) -> list[float]:
    """The loss of every step."""
    return [row["train/loss"] for row in read_metrics(folder / "metrics.csv") if "train/loss" in row]


def apart(one: list[float], other: list[float]) -> float:
    """The largest distance of two curves, as a share of their values. Raises ValueError for curves of two lengths."""
    return max(abs(a - b) / max(abs(a), abs(b), 1e-6) for a, b in zip(one, other, strict=True))


def trainings_part(options: Options) -> Iterator[Row]:
    """Each stage's `tiny` config, four windows a batch: GPU beside CPU, 16 bits, stop and resume."""
    steps = 4 if options.tiny else 8
    device = "gpu" if options.on_gpu else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        shards = options.shards or make_shards(runs / "shards", 1)
        output = {"talking": shards / "talking", "motion": shards / "motion", "features": runs / "features"}
        for place, (data, words) in CHAIN.items():
            name = place.partition("/")[2]
            named = {each: runs / f"{each}-full" for each in ("tokenizer", "text_motion")}
            own = [f"data.shards={output[data]}", *(word.format(**named) for word in words)]
            yield place, partial(_compare, place, runs, name, device, steps, own, options.on_gpu)
            if place == "implicit_motion/base":
                yield "preprocessing.features", partial(_features, output, runs / "base-full", options)


def _features(shards: dict[str, Path], base: Path, options: Options) -> dict[str, Any]:
    asked = FeatureOptions(
        input=str(shards["talking"]), output=str(shards["features"]), network=str(base), progress=False,
        device=str(options.device), workers=0 if options.tiny else 8,
    )  # fmt: skip
    make_features(asked)
    return {}


def _compare(
    place: str, runs: Path, name: str, device: str, steps: int, words: list[str], on_gpu: bool
) -> dict[str, Any]:
    both = steps * 2 if place == "implicit_motion/base" else steps  # max_steps counts the steps of both optimisers
    found: dict[str, Any] = {}
    with same_arithmetic():
        reference = losses(train(place, runs / f"{name}-cpu", "cpu", both, *words))
        full = losses(train(place, runs / f"{name}-full", device, both, *words))
    found["first_losses"] = [round(loss, 6) for loss in reference[:3]]
    found["from_cpu"] = {"first step": apart(full[:1], reference[:1]), "all steps": apart(full, reference)}
    if on_gpu:
        found["peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    unbroken = train(place, runs / f"{name}-unbroken", device, both, *words)
    middle = unbroken / "checkpoints" / f"step-{steps // 2:08d}.ckpt"  # names count one step a batch
    resumed = losses(train(place, runs / f"{name}-resumed", device, both, *words, f"resume={middle}"))
    assert len(resumed) == steps - steps // 2, f"{len(resumed)} steps after a resume in the middle of {steps}"
    rest = losses(unbroken)[-len(resumed) :]
    repeated = losses(train(place, runs / f"{name}-twice", device, both, *words))
    found["resumed"] = {"steps": len(resumed), "apart": apart(resumed, rest)}
    found["the same run twice"] = {"apart": apart(repeated, losses(unbroken))}
    for precision in ("bf16-mixed", "16-mixed") if on_gpu else ("bf16-mixed",):
        rough = losses(
            train(place, runs / f"{name}-{precision}", device, both, *words, f"trainer.precision={precision}")
        )
        found[precision] = {"from fp32": apart(rough, losses(unbroken)), "steps": len(rough)}
    assert found["from_cpu"]["first step"] < 1e-4, found
    assert found["resumed"]["apart"] < 1e-2, found
    return found


def make_shards(folder: Path, speakers: int = 4, clips: int = 2, motions: int = 24, size: int = 64) -> Path:
    """Shards of synthetic speakers (`talking`) and of synthetic motions (`motion`) in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    videos = folder / "videos"
    for words in (
        ["preprocessing.synthetic", f"output={videos}", f"speakers={speakers}", f"clips_per_speaker={clips}"]
        + [f"size={size}"],
        ["preprocessing.run", f"input={videos / 'manifest.jsonl'}", f"output={folder / 'talking'}", f"size={size}"]
        + ["pose=sidecar", "face=keypoints", "workers=2"],
        ["preprocessing.synthetic_motion", f"output={folder / 'motion'}", f"clips={motions}", "workers=1"],
    ):
        subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder


def portrait_part(options: Options) -> Iterator[Row]:
    """The base network for some minutes, then stopped by a signal, as a cluster would."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        shards = options.shards or make_shards(runs / "shards", 1)
        yield "base, 128 pixels", partial(_portrait, runs / "run", shards / "talking", options)


def _portrait(out: Path, shards: Path, options: Options) -> dict[str, Any]:
    size, minutes = (64, 0.7) if options.tiny else (128, 4.0)
    larger = [
        "stage.network.channels=16", "stage.network.planes=8", "stage.network.encoder_width=32",
        "stage.network.refine_blocks=4",
        "stage.network.backbone=convnext_atto", "stage.network.regions=8", "stage.network.transformer_width=128",
        "stage.network.transformer_layers=2",
        "stage.network.motion_width=32", "stage.network.decoder_width=32", "stage.network.decoder_blocks=4",
        "data.batch_size=8",
    ]  # fmt: skip
    process = subprocess.Popen(
        [
            sys.executable, "-m", "trainers.fit", "--config", "implicit_motion/base/tiny",
            f"data.shards={shards}", f"run={out}", f"data.video_size=[{size},{size}]",
            f"stage.network.image_size={size}",
            *([] if options.tiny else larger), f"data.workers={0 if options.tiny else 12}",
            f"trainer.accelerator={'gpu' if options.on_gpu else 'cpu'}", "trainer.devices=1", "samples.count=0",
            "trainer.max_steps=20000", f"trainer.val_check_interval={4 if options.tiny else 250}",
            "trainer.enable_progress_bar=false", "trainer.log_every_n_steps=20",
        ],
        cwd=ROOT,
    )  # fmt: skip
    try:
        status = process.wait(60 * minutes)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
    rows = read_metrics(out / "metrics.csv")
    measured = [row for row in rows if "val/psnr" in row]
    speeds = [row["speed/seconds_per_step"] for row in rows if "speed/seconds_per_step" in row]
    waits = [row["speed/data_wait_share"] for row in rows if "speed/data_wait_share" in row]
    return {
        "minutes": minutes, "status": status, "pixels": size, "rows": len(rows),
        "step_ms": round(1000 * sorted(speeds)[len(speeds) // 2], 2) if speeds else None,
        "waiting_for_data": round(sorted(waits)[len(waits) // 2], 3) if waits else None,
        "held_out": [
            {"step": row["step"], "psnr": round(row["val/psnr"], 2), "psnr_source": round(row["val/psnr_source"], 2)}
            for row in measured
        ],
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run({"trainings": trainings_part, "portrait": portrait_part}))
