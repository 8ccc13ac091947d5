"""Measuring a network that makes motion features from speech: implicit motion's second stage (IM-17, IM-19)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.clips import read_clips
from datamodules.media.fitting import FitMode
from datamodules.shards.index import Index
from models.human.keypoints import LEFT_WRIST, RIGHT_WRIST, lip_opening
from models.implicit_motion.generate import generate, seam_statistics, seams
from pretrained.exports import Export
from settings import ConfigError, get_logger
from trainers.evaluation.clips import ids_of, joined, present_splits
from trainers.evaluation.comparison import Figure, spread, verdict
from trainers.evaluation.per_clip import PerClip, correlation, mean_over_clips
from trainers.evaluation.split import split_results
from trainers.evaluation.tables import meanings
from trainers.implicit_motion.animation import MotionAnimator
from trainers.implicit_motion.evaluation.rendered import Rendered
from trainers.implicit_motion.system import SpeechMotionOptions
from trainers.run.exports import find_export

logger = get_logger(__name__)

LABELS: Final = {
    "model": "this model",
    "shuffled_audio": "shuffled audio",
    "mean_motion": "mean motion",
    "held": "held source",
    "truth": "truth",
}
FIGURES: Final = {
    "lip_correlation": Figure(
        "Lips r",
        "higher",
        "Pearson correlation of lip opening, read from the features, with the truth's; mean over clips",
    ),
    "hand_correlation": Figure(
        "Hands r", "higher", "the same for the height of the wrists, mean over both and over clips"
    ),
    "motion_error": Figure("Motion error", "lower", "mean squared distance of features, in units of their variance"),
    "frechet": Figure("FD", "lower", "squared Frechet distance of frames' features to the truth's, standardised"),
    "speed": Figure("Speed", "near", "mean distance from frame to frame, in units of the features' deviation"),
}
DECIDING: Final = ("lip_correlation",)
PAPER: Final[list[dict[str, Any]]] = [
    {"system": "S2G-MDDiffusion", "FID": 25.325, "FVD": 109.424, "DIV": 6.280, "LSE-D": 11.010, "LSE-C": 0.971},
    {"system": "Implicit motion", "FID": 19.246, "FVD": 54.456, "DIV": 7.159, "LSE-D": 10.257, "LSE-C": 1.531},
    {"system": "w/o mamba-g", "FID": 31.136, "FVD": 70.773, "DIV": 6.139, "LSE-D": 11.038, "LSE-C": 1.230},
    {"system": "w/o mamba-l", "FID": 30.587, "FVD": 71.032, "DIV": 4.706, "LSE-D": 11.000, "LSE-C": 1.090},
]
PAPER_SOURCE: Final = "Implicit motion, tables II and IV, PATS"
DIFFERENT: Final = (
    "The paper measures videos of other data (PATS) with pretrained networks; these figures are of the motion features "
    "themselves and of this data. They may not be compared."
)
KEYS: Final = ("implicit.npz", "audio.flac", "pose.npz")
_RIDGE: Final = 1e-2  # of the features' own variance


@dataclass(frozen=True)
class Talk:
    """A clip, or its first seconds.

    Attributes:
        info: its clip.json.
        motion: (T, 768) true features.
        appearance: (A,) of its first frame.
        audio: (N,) at 16 kHz.
        measured: (T, 3) opening of the lips and height of the wrists; NaN where not seen.
    """

    info: ClipInfo
    motion: np.ndarray
    appearance: np.ndarray
    audio: np.ndarray
    measured: np.ndarray


def measure_speech_motion(export: Export, options: SpeechMotionOptions, folder: Path) -> dict[str, Any]:
    """Figures of the motion stage for `trainers.evaluate`, on shards with cached features.

    Lips and wrists are read from features by a ridge regression that is fitted to true features of training clips; the
    column "truth" is what it reads from true features, the most that can be reached. With `options.videos`, or weights
    for figures of videos, all answers are rendered by the base network as well; "truth" is then what that makes of true
    features.

    Raises:
        ConfigError: shards without features, of another base network, or without clips in the splits.
    """
    index = Index.load(options.shards)
    models = {"model": MotionAnimator(export, device=options.device)}
    labels = dict(LABELS)
    for name, run in options.beside.items():
        models[name] = MotionAnimator(find_export(run), device=options.device)
        labels[name] = name
    for name, model in models.items():
        made_by = index.statistics.get("implicit", {}).get("network")
        if made_by != model.network.space.base_sha256:
            raise ConfigError(f"{options.shards} has no features of the base network that {name} was trained on")
    probe = Probe(load_talks(options.shards, "train", 64, None))
    rendered = None
    if options.videos or options.weights:
        base = models["model"].base(options.base)
        rendered = Rendered(base, options, _fit_of(find_export(options.base or export.settings["stage"]["base"])))
        if lacking := rendered.pretrained.missing:
            logger.info("left out, for want of weights: %s", "; ".join(lacking))
    splits = {}
    for split in present_splits(index, options, KEYS, "features (`python -m preprocessing.features`), sound and pose"):
        talks = load_talks(options.shards, split, options.clips, options.seconds)
        splits[split] = _measure_split(models, labels, options, talks, probe, rendered)
        splits[split]["seen_in_training"] = split == "train"
    return {
        "figures": meanings({**FIGURES, **(rendered.figures if rendered else {})}),
        "splits": splits,
        "paper": {"source": PAPER_SOURCE, "rows": PAPER, "note": DIFFERENT},
    }


def _fit_of(base: Export) -> FitMode:
    """How oblong frames were fitted when the base network was trained."""
    return base.settings.get("data", {}).get("video_fit", "crop")


class Probe:
    """Reads lip opening and wrist heights from motion features, by ridge regression.

    Args:
        talks: training clips, whose features are true.
    """

    def __init__(self, talks: Sequence[Talk]):
        motion = np.concatenate([talk.motion for talk in talks]).astype(np.float64)
        measured = np.concatenate([talk.measured for talk in talks])
        self.mean, self.std = motion.mean(0), motion.std(0) + 1e-6
        x = (motion - self.mean) / self.std
        self.weights, self.offsets = np.zeros((x.shape[1], measured.shape[1])), np.zeros(measured.shape[1])
        for column, values in enumerate(measured.T):
            there = np.isfinite(values)
            if there.sum() < 2:
                continue
            a, y = x[there], values[there]
            gram = a.T @ a + _RIDGE * len(a) * np.eye(a.shape[1])
            self.offsets[column] = y.mean()
            self.weights[:, column] = np.linalg.solve(gram, a.T @ (y - y.mean()))

    def __call__(self, motion: np.ndarray) -> np.ndarray:
        """Features (T, 768) to (T, 3)."""
        return self.standard(motion) @ self.weights + self.offsets

    def standard(self, motion: np.ndarray) -> np.ndarray:
        """Features in units of their deviation over training clips."""
        return (motion - self.mean) / self.std


def load_talks(shards: str, split: str, limit: int | None, seconds: float | None) -> list[Talk]:
    """Clips of a split with features, sound and key points, at most `limit` of them, evenly taken."""
    talks = []
    for info, values in read_clips(shards, KEYS, where={"id": ids_of(Index.load(shards), split, KEYS, limit)}):
        frames = info.frames if seconds is None else min(info.frames, round(seconds * info.fps))
        pose = joined(values["pose.npz"])[:frames]
        wrists = np.where(pose[:, [RIGHT_WRIST, LEFT_WRIST], 2] > 0, pose[:, [RIGHT_WRIST, LEFT_WRIST], 1], np.nan)
        lips = np.where((pose[:, 24:92, 2] > 0).all(1), lip_opening(pose), np.nan)
        feature = values["implicit.npz"]
        audio = values["audio.flac"][: round(frames / info.fps * 16_000)]
        measured = np.concatenate([lips[:, None], wrists], 1)
        talks.append(Talk(info, feature["motion"][:frames].astype(np.float32), feature["appearance"], audio, measured))
    return talks


def _measure_split(
    models: dict[str, MotionAnimator],
    labels: dict[str, str],
    options: SpeechMotionOptions,
    talks: Sequence[Talk],
    probe: Probe,
    rendered: Rendered | None,
) -> dict[str, Any]:
    own, mean = [talk.audio for talk in talks], probe.mean.astype(np.float32)
    answers: dict[str, Callable[[int], list[np.ndarray]]] = {
        name: partial(_generate, model, talks, own, options) for name, model in models.items()
    }
    answers["shuffled_audio"] = lambda seed: _generate(models["model"], talks, _others(talks, seed), options, seed)
    fixed = {
        "mean_motion": [np.repeat(mean[None], len(talk.motion), 0) for talk in talks],
        "held": [np.repeat(talk.motion[:1], len(talk.motion), 0) for talk in talks],
        "truth": [talk.motion for talk in talks],
    }
    answers = {name: answer for name, answer in answers.items() if name in options.beside or options.wants(name)}
    options.progress.expect(len(answers) * len(options.seeds) * len(talks))
    output: dict[tuple[str, int | None], list[np.ndarray]] = {
        (name, None): motions for name, motions in fixed.items() if options.wants(name)
    }
    for name, answer in answers.items():
        started = time.perf_counter()
        output |= {(name, seed): answer(seed) for seed in options.seeds}
        logger.info("  %s: %.0f s", labels[name], time.perf_counter() - started)
    figures = {key: measure(motions, talks, probe) for key, motions in output.items()}
    if rendered is not None:
        videos = rendered.measure(output, [talk.info.id for talk in talks])
        figures = {key: {**found, **videos[key]} for key, found in figures.items()}
    # What needs no chance is the same for every seed.
    systems = {
        name: spread([figures[name, None if name in fixed else seed] for seed in options.seeds])
        for name in dict.fromkeys(name for name, _ in output)
    }
    ordered = {name: systems[name] for name in labels if name in systems}
    verdicts = {name: verdict(ordered, name, FIGURES[name], labels, len(talks)) for name in DECIDING}
    seconds = sum(len(talk.motion) / talk.info.fps for talk in talks)
    return split_results([talk.info for talk in talks], seconds, ordered, labels, verdicts)


def measure(generated: Sequence[np.ndarray], talks: Sequence[Talk], probe: Probe) -> dict[str, float]:
    """All figures of one answer: features (T, 768) for each clip."""
    from metrics import FrechetDistance

    frechet = PerClip(FrechetDistance(len(probe.mean)))
    lips, hands, errors, speeds = [], [], [], []
    for motion, talk in zip(generated, talks, strict=True):
        read = probe(motion)
        lips.append(correlation(read[:, 0], talk.measured[:, 0]))
        hands.append([correlation(read[:, column], talk.measured[:, column]) for column in (1, 2)])
        x, y = probe.standard(motion), probe.standard(talk.motion)
        errors.append(np.square(x - y).mean())
        speeds.append(np.sqrt(np.square(np.diff(x, axis=0)).mean(1)).mean())
        frechet.update(torch.from_numpy(x), generated=True)
        frechet.update(torch.from_numpy(y), generated=False)
        frechet.end_clip()
    both = np.isfinite(hands).sum(1)
    wrists = np.nansum(hands, 1) / np.maximum(both, 1)
    return {
        "lip_correlation": mean_over_clips(lips),
        "hand_correlation": mean_over_clips(wrists, both),
        "motion_error": mean_over_clips(errors),
        "frechet": frechet.compute(),
        "speed": mean_over_clips(speeds),
    }


def seam_figures(model: MotionAnimator, talk: Talk, audio: np.ndarray, seed: int = 0) -> dict[str, float]:
    """IM-17 on a long sequence: a clip's person speaking `audio` (N,) at 16 kHz."""
    motion = _run(model, [talk], [audio], None, None, seed)[0]
    return seam_statistics(torch.from_numpy(motion), seams(model.network, len(motion)))


def _generate(
    model: MotionAnimator, talks: Sequence[Talk], audio: Sequence[np.ndarray], options: SpeechMotionOptions, seed: int
) -> list[np.ndarray]:
    """Features for every clip, in batches of clips sorted by length."""
    output: list[np.ndarray] = [np.zeros(0)] * len(talks)
    order = sorted(range(len(talks)), key=lambda i: len(talks[i].motion))
    for number, start in enumerate(range(0, len(order), options.batch)):
        part = order[start : start + options.batch]
        results = _run(
            model,
            [talks[i] for i in part],
            [audio[i] for i in part],
            options.steps,
            options.guidance,
            seed + 1000 * number,
        )
        for i, one in zip(part, results, strict=True):
            output[i] = one[: len(talks[i].motion)]
        options.progress.advance(len(part), "clips made")
    return output


def _run(
    model: MotionAnimator,
    talks: Sequence[Talk],
    audio: Sequence[np.ndarray],
    steps: int | None,
    guidance: float | None,
    seed: int,
) -> list[np.ndarray]:
    heard = [model.listen(one) for one in audio]
    longest = max(map(len, heard))
    padded = np.stack(
        [np.concatenate([one, np.zeros((longest - len(one), *one.shape[1:]), one.dtype)]) for one in heard]
    )

    def tensor(values: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(values)).float().to(model.device)

    motion = generate(
        model.network,
        tensor([talk.motion[0] for talk in talks]),
        tensor([talk.appearance for talk in talks]),
        tensor(list(padded)),
        seed=seed,
        steps=steps,
        guidance=guidance,
        lengths=torch.tensor([model.frames(one) for one in heard]),
    )
    return list(motion.cpu().numpy())


def _others(talks: Sequence[Talk], seed: int) -> list[np.ndarray]:
    """The sound of another clip for each, repeated or cut to its length."""
    shift = 1 + int(np.random.default_rng(seed).integers(max(1, len(talks) - 1)))
    rolled = [talks[(i + shift) % len(talks)].audio for i in range(len(talks))]
    if len(talks) == 1:
        rolled = [np.roll(talks[0].audio, len(talks[0].audio) // 2)]
    return [np.resize(other, len(talk.audio)) for other, talk in zip(rolled, talks, strict=True)]
