"""Writes a data set of synthetic actors: videos with sound, exact key points, the truth behind them, a manifest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from preprocessing.synthetic.files import LICENCE, check_set, kept_row, make_set, numbered, save_video
from preprocessing.synthetic_actors.clips import KINDS, Recipe, make_clip
from preprocessing.synthetic_actors.figure import Scale
from settings import ConfigError, get_logger
from settings.ranges import Count, Fps, Pixels, Positive, Seed, Whole

SCALES: Final[tuple[Scale, ...]] = ("head", "half", "whole")
logger = get_logger(__name__)


def generate(
    output: Path,
    speakers: Count = 4,
    clips_per_speaker: Count = 12,
    unseen_speakers: Whole = 1,
    scales: Sequence[Scale] = SCALES,
    seconds: tuple[Positive, Positive] = (3.0, 8.0),
    size: Pixels = 96,
    fps: Fps = 25.0,
    seed: Seed = 0,
    workers: Whole = 1,
    test_clips: Count | None = None,
) -> Path:
    """Make videos of people who act as told and speak, whose movement is known; returns the path of `manifest.jsonl`.

    At head scale they speak, at half-body and whole-body scale they speak, act, or do both at once; each clip has one
    expression. Every video NAME.mp4 has NAME.pose.npz (134 exact key points) and NAME.truth.json (sounds, beats, mouth
    opening, blink of each frame, expression, actions) beside it. Files that are whole already are kept.

    Args:
        output: folder to write into.
        speakers: how many people are in the splits train, val and test.
        clips_per_speaker: videos of each person; about a sixth go to test and a tenth to val, from 3 on one each.
        unseen_speakers: further people, all of whose videos are in split test_unseen.
        scales: how much of a person is seen, in turn: head, half, whole.
        seconds: shortest and longest video.
        size: of the square picture in pixels, even; at 96 the eyes of a head are 4 pixels high.
        fps: frames a second.
        seed: other seeds give other people, sentences, actions and movements.
        workers: processes that work side by side.
        test_clips: videos of each person that go to test; left out, about a sixth.

    Raises:
        ConfigError: a number out of range.
    """
    check_set(speakers, unseen_speakers, clips_per_speaker, size, fps, workers, test_clips)
    least, most = seconds
    odd = [scale for scale in scales if scale not in SCALES]
    if odd or not scales:
        raise ConfigError(f"scales: {odd[0] if odd else 'none'} is no scale; there are {', '.join(SCALES)}")
    if not 2.0 <= least <= most or most < 6.0:
        raise ConfigError(
            f"seconds [{least:g}, {most:g}]: needs a shortest of at least 2 and a longest of 6 or more, which is not "
            "shorter: a slow action done three times, or a whole sentence, takes that long"
        )
    recipes = []
    for number, clip, split in numbered(speakers, unseen_speakers, clips_per_speaker, test_clips):
        # Splits run from one end of a person's clips to the other; scales and kinds take turns, so that each has all.
        turn, place = divmod(clip + number, len(scales))
        kinds = KINDS[scales[place]]
        name, kind = f"a{number:02d}_{clip:03d}", kinds[turn % len(kinds)]
        recipes.append(Recipe(name, number, clip, scales[place], kind, split, seed, least, most, size, fps))
    manifest = make_set(Path(output), recipes, _make, workers)
    logger.info("%d videos of %d actors in %s", len(recipes), speakers + unseen_speakers, manifest)
    return manifest


def _make(job: tuple[str, Recipe]) -> dict[str, Any]:
    """Write one video and what belongs to it, unless it is there; returns its row of the manifest."""
    folder, recipe = Path(job[0]), job[1]
    kept = kept_row(folder, recipe)
    if kept is not None:
        return kept
    clip = make_clip(recipe)
    truth = clip.truth
    told = ("phonemes", "actions", "expression", "scale", "kind")
    row = {
        "file": f"{recipe.name}.mp4", "speaker": clip.person.speaker.name, "language": "en",
        "captions": clip.captions, "licence": LICENCE, "consent": "synthetic", "split": recipe.split,
        "extra": {
            "synthetic": True, **{name: truth[name] for name in told},
            "beats": [{"start": beat, "end": beat} for beat in truth["beats"]],
        },
    }  # fmt: skip
    whole = {"row": row, "frames": clip.person.frames, **truth}
    save_video(folder, recipe, clip.person, clip.frames(), clip.audio, "preprocessing.synthetic_actors", whole)
    return row
