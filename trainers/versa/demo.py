"""Whole-body motion from text and speech in one command: synthetic motion to tokens to a skeleton video, with figures.

`python -m trainers.demo_versa` makes its own set of named actions and talking people; nothing is downloaded.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from cospeech import shipped
from settings.ranges import Count, Whole
from trainers.demos.steps import DemoError, run_step, start

CONFIGS = shipped.folder("configs") / "versa"
TEXTS = (
    "0-3 s: a person waves the right hand twice",
    "3-5.5 s: someone takes a step forward",
    "5.5-8 s: he bows deeply",
)


def demo_versa(
    *,
    output: Path = Path("demo-versa"),
    clips: Count = 1500,
    workers: Whole = 2,
    tokenizer_steps: Count = 3000,
    text_steps: Count = 3000,
    audio_steps: Count = 600,
    evaluator_steps: Count = 800,
    measured: Count = 256,
) -> Path:
    """Go the whole way; what is finished already is not done again.

    Args:
        output: folder for everything.
        clips: motion clips to make.
        workers: processes that make them, threads for training.
        tokenizer_steps, text_steps, audio_steps, evaluator_steps: training steps of each network.
        measured: clips that are measured.

    Returns:
        The mp4 of somebody who speaks and does what texts say.
    """
    started = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    shards = output / "shards"
    runs = {name: output / name for name in ("tokenizer", "text_motion", "audio_motion", "evaluator")}
    run_step(
        "Making people who act and talk",
        "preprocessing.synthetic_motion",
        [f"output={shards}", f"clips={clips}", f"workers={workers}", "poses=true"],
    )

    def train(title: str, name: str, steps: int, *words: str) -> None:
        config = ["--config", str(CONFIGS / name / "tiny.yaml")]
        options = [f"data.shards={shards}", f"run={runs[name]}", f"trainer.max_steps={steps}", *words]
        run_step(title, "trainers.fit", [*config, *options], threads=workers)

    tokens = f"stage.tokenizer={runs['tokenizer']}"
    train("Training the motion tokenizer", "tokenizer", tokenizer_steps)
    train("Training text to motion", "text_motion", text_steps, tokens)
    text = f"stage.text_motion={runs['text_motion']}"
    train("Training speech to motion", "audio_motion", audio_steps, tokens, text)
    train("Training what they are measured by", "evaluator", evaluator_steps)
    words = [f"clips={measured}", "seeds=[0]"]
    for name in ("tokenizer", "text_motion", "audio_motion"):
        more = [f"evaluator={runs['evaluator']}"] if name == "text_motion" else []
        run_step(f"Measuring {name} beside baselines", "trainers.evaluate", [f"run={runs[name]}", *words, *more])
    bank = output / "bank"
    run_step(
        "Linking tokens to real poses", "preprocessing.bank",
        [f"input={shards}", f"output={bank}", f"tokenizer={runs['tokenizer']}"],
    )  # fmt: skip
    speech, pose = speech_and_person(shards, output)
    result = output / "generated.mp4"
    asked = [word for one in TEXTS for word in ("--text", one)]
    run_step(
        "Text and speech to a pose video", "trainers.animate",
        [f"run={runs['audio_motion']}", f"pose={pose}", f"audio={speech}", f"bank={bank}", *asked, f"out={result}"],
    )  # fmt: skip
    for name in runs:
        run_step(f"Writing the report of {name}", "trainers.report", [str(runs[name])])
    print(
        f"\nDone in {(time.monotonic() - started) / 60:.1f} min. Shards: {shards}  Networks: {output}/*/export  "
        f"Video: {result}  Reports: {output}/*/report.html"
    )
    return result


def speech_and_person(shards: Path, output: Path, seconds: float = 8.0) -> tuple[Path, Path]:
    """Write speech that training does not hear, and the first pose of another clip, the person to be animated.

    Raises:
        DemoError: there is no held-out clip with sound and poses.
    """
    import numpy as np
    import soundfile

    from datamodules.clips import read_clips
    from datamodules.media.files import SAMPLE_RATE
    from datamodules.shards.index import Index

    whole = {"audio.flac", "pose.npz"}
    held_out = [
        sample.id
        for shard in Index.load(shards).shards
        for sample in shard.samples
        if sample.split == "test" and whole <= set(sample.keys)
    ]
    if not held_out:
        raise DemoError(f"{shards} has no held-out clip with speech; make more clips")
    sounds: list[np.ndarray] = []
    pose = output / "person.npz"
    for _, values in read_clips(shards, tuple(sorted(whole)), where={"id": held_out}):
        if not sounds:
            np.savez(pose, **{name: array[:1] for name, array in values["pose.npz"].items()})
        sounds.append(values["audio.flac"])
        if sum(map(len, sounds)) >= seconds * SAMPLE_RATE:
            break
    speech = output / "speech.wav"
    soundfile.write(speech, np.concatenate(sounds)[: round(seconds * SAMPLE_RATE)], SAMPLE_RATE)
    return speech, pose


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the demo."""
    start(demo_versa, argv, "python -m trainers.demo_versa")
