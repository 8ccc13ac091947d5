"""The whole way in one command: videos to shards to a trained SMGA to an mp4, with figures.

`python -m trainers.demo` makes its own synthetic speakers; `videos=FOLDER` takes yours.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cospeech import shipped
from settings import build, command
from trainers.demo_steps import DemoError, run_step

CONFIG = shipped.folder("configs") / "mmgt" / "smga" / "tiny.yaml"


def demo(
    *,
    output: Path = Path("demo"),
    videos: str | None = None,
    config: Path = CONFIG,
    size: int = 256,
    speakers: int = 4,
    clips_per_speaker: int = 12,
    workers: int = 2,
    steps: int = 1600,
) -> Path:
    """Go the whole way; what is finished already is not done again.

    Args:
        output: folder for everything.
        videos: folder, glob or manifest of your own videos; none makes synthetic speakers.
        config: of the training.
        size: longest side of the videos, in pixels.
        speakers: synthetic speakers to make.
        clips_per_speaker: videos of each.
        workers: processes for rendering and preprocessing, threads for training.
        steps: training steps; more make better motion.

    Returns:
        The generated mp4.
    """
    started = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    shards, run = output / "shards", output / "run"

    source, options = videos, [f"size={size}"]
    if videos is None:
        folder = output / "videos"
        run_step(
            "Making synthetic speakers",
            "preprocessing.synthetic",
            [f"output={folder}", f"speakers={speakers}", f"clips_per_speaker={clips_per_speaker}", f"size={size}"]
            + [f"workers={workers}"],
        )
        source = str(folder / "manifest.jsonl")
        # Drawn people: their key points are known exactly, and no detector is asked about them.
        options += ["pose=sidecar", "face=keypoints"]
    run_step(
        "Videos to shards", "preprocessing.run", [f"input={source}", f"output={shards}", f"workers={workers}", *options]
    )
    held_out = _held_out(shards)
    training = [f"data.shards={shards}", f"run={run}", f"trainer.max_steps={steps}"]
    run_step("Training SMGA", "trainers.fit", ["--config", str(config), *training], threads=workers)
    if not _newer(run / "evaluation" / "figures.json", run / "export" / "model.safetensors"):
        run_step("Measuring it beside the baselines", "trainers.evaluate", [f"run={run}", "clips=12"], threads=workers)
    speech, pose = _speech_and_first_pose(shards, held_out, output)
    result = output / "generated.mp4"
    words = [f"run={run}", f"pose={pose}", f"audio={speech}", f"out={result}"]
    run_step("Speech to a pose video", "trainers.animate", words, threads=workers)
    run_step("Writing the report", "trainers.report", [str(run)])
    print(
        f"\nDone in {(time.monotonic() - started) / 60:.1f} min. Shards: {shards}  Network: {run / 'export'}  "
        f"Video: {result}  Reports: {shards / 'report.html'}, {run / 'report.html'}"
    )
    return result


def _newer(path: Path, than: Path) -> bool:
    return path.is_file() and path.stat().st_mtime > than.stat().st_mtime


def _held_out(shards: Path) -> tuple[str, str]:
    """Split and id of the clip whose speech drives the video: one that training never hears, if there is any."""
    from datamodules.index import Index

    samples = [sample for shard in Index.load(shards).shards for sample in shard.samples if "audio.flac" in sample.keys]
    for split in ("test", "test_unseen", "val", "train"):
        found = [sample.id for sample in samples if sample.split == split]
        if found:
            if split == "train":
                print("   Too few videos to hold one back: the video will be made for speech that training hears.")
            return split, found[0]
    raise DemoError(f"no clip was kept: {shards / 'report.html'} tells why")


def _speech_and_first_pose(shards: Path, clip: tuple[str, str], output: Path) -> tuple[Path, Path]:
    """Write the speech of a clip, its first pose, and its own video to compare with."""
    import numpy as np
    import soundfile

    from datamodules.clips import read_clips
    from datamodules.media import SAMPLE_RATE

    split, wanted = clip
    keys = ("audio.flac", "pose.npz")
    for info, arrays in read_clips(shards, keys, where={"split": split}):
        if info.id == wanted:
            speech, pose = output / "speech.wav", output / "first_pose.npz"
            soundfile.write(speech, arrays["audio.flac"], SAMPLE_RATE)
            np.savez(pose, **{name: array[:1] for name, array in arrays["pose.npz"].items()})
            (output / "speech.json").write_text(json.dumps(info.model_dump(), indent=1, ensure_ascii=False))
            return speech, pose
    raise DemoError(f"clip {wanted} cannot be read; `python -m preprocessing.verify {shards}` tells why")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the demo."""
    values: dict[str, Any] = command(demo, argv, prog="python -m trainers.demo")
    try:
        build(values, demo)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
