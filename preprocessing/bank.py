"""The command `python -m preprocessing.bank`: real 2D poses by motion token, from clips that hold both (VA-10)."""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from datamodules.clip import ClipInfo, TooManyBadSamples
from datamodules.clips import read_clips
from datamodules.shards.cache import ShardError
from datamodules.shards.index import Index, IndexFileError
from models.human.motion import FPS as MOTION_FPS
from models.versa.token2pose import FPS, PoseBank, Template
from models.versa.tokenizer import MotionTokenizer
from preprocessing.runs.writer import OutputError, refused_as_output_error
from pretrained.exports import load_frozen
from settings import ConfigError, build, command
from settings.device import device_of
from settings.output import faults_of
from settings.progress import follow
from settings.ranges import Count

KEYS: Final = ("motion.npz", "pose.npz")


@dataclass(frozen=True)
class Options:
    """Build the token2pose bank from clips that hold motion.npz and pose.npz.

    Args:
        input: folder or URL of shards and their index.json.
        output: folder for the bank; an older bank there is replaced.
        tokenizer: the trained tokenizer: its run folder or its saved network (export/).
        split: clips of which split; none takes all.
        snippets: kept of a token at most.
        device: cpu, cuda, or auto.
        cache: folder for copies of remote shards; $COSPEECH_CACHE or ~/.cache/cospeech where none.
    """

    input: str
    output: str
    tokenizer: str
    split: str | None = "train"
    snippets: Count = 64
    device: str = "auto"
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.snippets < 1:
            raise ConfigError(f"'snippets' must be 1 or more, got {self.snippets}")


def make_bank(options: Options) -> dict[str, Any]:
    """Build and save the bank.

    Returns:
        What `summary.json` holds: "clips", "snippets", "tokens" with a snippet, "codes", "left_out" (reason to count).

    Raises:
        ConfigError: no tokenizer there, the output folder holds something else, or no clip is usable.
        OutputError: the output cannot be written.
        IndexFileError, ShardError: the input is not there.
    """
    output = Path(options.output).expanduser()
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not (output / "summary.json").exists())):
        raise ConfigError(f"output={output} is there and is no bank; give another folder")
    tokenizer, sha256 = load_frozen(MotionTokenizer, "tokenizer", options.tokenizer, "versa's tokenizer")
    tokenizer.to(device_of(options.device))
    frames = round(tokenizer.rate / MOTION_FPS * FPS)
    left_out: Counter[str] = Counter()
    templates = list(_templates(options, tokenizer, left_out))
    try:
        bank = PoseBank.build(templates, codes=tokenizer.codes, frames=frames, most=options.snippets, tokenizer=sha256)
    except ValueError as error:
        details = "".join(f"; {count} clips: {reason}" for reason, count in left_out.items())
        raise ConfigError(f"no bank of {options.input}: {error}{details}") from None
    summary = {
        "clips": len(templates),
        "snippets": len(bank.tokens),
        "tokens": int(bank.known.sum()),
        "codes": tokenizer.codes,
        "left_out": dict(left_out),
        "tokenizer": sha256,
    }
    _save(bank, summary, output)
    return summary


def _templates(options: Options, tokenizer: MotionTokenizer, left_out: Counter[str]) -> Iterator[Template]:
    """Tokens and poses of each clip that has both; the others are counted."""
    whole = []
    for shard in Index.load(options.input).shards:
        for sample in shard.samples:
            if options.split not in (None, sample.split):
                continue
            if missing := [key for key in KEYS if key not in sample.keys]:
                left_out[f"{missing[0]} is missing"] += 1
            else:
                whole.append(sample.id)
    device = tokenizer.motion_mean.device
    clips = read_clips(options.input, KEYS, {"id": whole}, options.cache) if whole else ()
    for info, values in follow(clips, "clips read into tokens", len(whole)):
        motion = torch.from_numpy(values["motion.npz"]["motion"])
        with torch.no_grad():
            tokens = tokenizer.encode(motion[None].to(device))[0].cpu()
        pose = values["pose.npz"]
        yield Template(tokens, *at_25(pose["keypoints"], pose["scores"], info))


def at_25(keypoints: np.ndarray, scores: np.ndarray, info: ClipInfo) -> tuple[torch.Tensor, torch.Tensor]:
    """A clip's poses at 25 fps with square pixels: key points (T, 134, 2) and scores (T, 134).

    Between two frames a point is there when it is in both.
    """
    square = keypoints * np.array([info.width or 1, info.height or 1], np.float32)
    count = max(1, round(info.frames / info.fps * FPS))
    at = np.minimum(np.arange(count) * info.fps / FPS, info.frames - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + (at > low), info.frames - 1)
    share = (at - low).astype(np.float32)[:, None]
    points = (1 - share[..., None]) * square[low] + share[..., None] * square[high]
    blended = np.where((scores[low] > 0) & (scores[high] > 0), (1 - share) * scores[low] + share * scores[high], 0)
    points = np.where(blended[..., None] > 0, points, -1)
    return torch.from_numpy(points.astype(np.float32)), torch.from_numpy(blended.astype(np.float32))


def _save(bank: PoseBank, summary: dict[str, Any], output: Path) -> None:
    """Write the bank under its final name only when it is whole."""
    temporary = output.with_name(f".{output.name}.{uuid.uuid4().hex[:12]}")
    try:
        with refused_as_output_error(output):
            temporary.mkdir(parents=True)
            bank.save_pretrained(temporary)
            (temporary / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
            if output.exists():
                shutil.rmtree(output)
            os.replace(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    values = command(Options, argv, prog="python -m preprocessing.bank")
    try:
        options = build(values, Options)
        with faults_of(Path(options.output).expanduser()):
            result = make_bank(options)
    except ConfigError as error:
        print(f"config error: {error}", file=sys.stderr)
        return 2
    except (OutputError, IndexFileError, ShardError, TooManyBadSamples) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{result['snippets']} snippets of {result['tokens']} of {result['codes']} tokens in {options.output}")
    for reason, count in result["left_out"].items():
        print(f"  left out: {count} clips: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
