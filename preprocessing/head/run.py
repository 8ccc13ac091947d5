"""The command `python -m preprocessing.head`: a head template for shards."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import torch

from datamodules.clips import read_clips
from datamodules.shards.index import Index
from models.chatanyone.head import EXPRESSIONS, IDENTITIES, HeadTemplate
from models.chatanyone.head_linear import SeenFace
from models.saved import CONFIG, WEIGHTS
from preprocessing.head.points import seen_face
from preprocessing.head.templates import TEMPLATES, HeadMaker
from preprocessing.runs.command import run_command
from preprocessing.runs.writer import refused_as_output_error
from settings import Choice, ConfigError
from settings.hashes import file_hash
from settings.progress import follow
from settings.ranges import Count

KEY: Final = "pose.npz"


@dataclass(frozen=True)
class Options:
    """Make a head template (CA-1), which `preprocessing.features writer=head network=OUTPUT` then fits to every clip.

    Args:
        input: folder or URL of shards and their index.json, whose clips have pose.npz.
        output: folder for the template; an older template there is replaced.
        template: what it is made of: linear, the face points of the clips, or smplx, the head of that body model.
        split: clips of which split; none takes all.
        clips: at most so many, spread over the split.
        cache: folder for copies of remote shards; $COSPEECH_CACHE or ~/.cache/cospeech where none.
    """

    input: str
    output: str
    template: Annotated[dict, Choice(TEMPLATES)] = field(default_factory=lambda: {"name": "linear"})
    split: str | None = "train"
    clips: Count = 2000
    cache: Path | None = None


def make_template(options: Options) -> dict[str, Any]:
    """Make and save the template.

    Returns:
        What `summary.json` holds: "clips", "frames", "kind", "expressions", "identities" (directions in use), "noise"
        (heights of the frame), "sha256" of the weights.

    Raises:
        ConfigError: the output folder holds something else, no clip shows a head, or there is no such body model.
        OutputError: the output cannot be written.
        IndexFileError, ShardError: the input is not there.
    """
    output = Path(options.output).expanduser()
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not (output / CONFIG).exists())):
        raise ConfigError(f"output={output} is there and is no head template; give another folder")
    maker: HeadMaker = TEMPLATES.build(options.template)
    clips = _clips(options) if maker.reads_clips else []
    template = maker.make(clips)
    sha256 = _save(template, output)
    summary = {
        "clips": len(clips),
        "frames": sum(len(clip.points) for clip in clips),
        "kind": template.kind,
        "expressions": _used(template.expressions, EXPRESSIONS),
        "identities": _used(template.identities, IDENTITIES),
        "noise": float(template.noise),
        "sha256": sha256,
    }
    (output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def _clips(options: Options) -> list[SeenFace]:
    samples = [sample for shard in Index.load(options.input).shards for sample in shard.samples]
    ids = [s.id for s in samples if options.split in (None, s.split) and KEY in s.keys]
    if not ids:
        raise ConfigError(f"{options.input} has no clips with {KEY} in split={options.split}; split=null takes all")
    step = max(1, -(-len(ids) // options.clips))
    chosen = ids[::step]
    read = read_clips(options.input, (KEY,), {"id": chosen}, options.cache)
    return [seen_face(info, values[KEY]) for info, values in follow(read, "clips read", len(chosen))]


def _used(directions: torch.Tensor, most: int) -> int:
    return int((directions.reshape(most, -1).norm(dim=1) > 0).sum())


def _save(template: HeadTemplate, output: Path) -> str:
    """Write the template under its final name only when it is whole; gives the SHA-256 of its weights."""
    temporary = output.with_name(f".{output.name}.{uuid.uuid4().hex[:12]}")
    try:
        with refused_as_output_error(output):
            temporary.mkdir(parents=True)
            with contextlib.redirect_stdout(io.StringIO()):
                template.save_pretrained(temporary)
            sha256 = file_hash(temporary / WEIGHTS)
            if output.exists():
                shutil.rmtree(output)
            os.replace(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sha256


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return run_command(Options, argv, prog="python -m preprocessing.head", make=make_template, tell=_tell)


def _tell(options: Options, summary: dict[str, Any]) -> None:
    print(
        f"a {summary['kind']} head template with {summary['expressions']} directions of expression and "
        f"{summary['identities']} of identity in {options.output}"
    )
    if summary["clips"]:
        print(f"  of {summary['frames']} frames of {summary['clips']} clips")
