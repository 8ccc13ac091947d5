"""Measuring text to motion: does it do what the text says (VA-17)."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from datamodules.shards.index import Index
from models.versa.evaluator import TextMotionEvaluator
from models.versa.generate import MotionRequest
from pretrained.exports import Export
from settings import ConfigError, get_logger
from trainers.evaluation.clips import ids_of, present_splits
from trainers.evaluation.comparison import Figure, spread, verdict
from trainers.evaluation.evaluator import describe, load_text_motion_evaluator
from trainers.evaluation.per_clip import PerClip, mean_over_clips, over_clips
from trainers.evaluation.split import split_results
from trainers.evaluation.tables import meanings
from trainers.versa.evaluation.acting import Act, Actor, load_acts
from trainers.versa.system import TextMotionOptions

logger = get_logger(__name__)

LABELS: Final = {
    "model": "this model",
    "shuffled_text": "another's text",
    "random": "random tokens",
    "tokens": "truth through tokens",
    "truth": "truth",
}
FIGURES: Final = {
    "action": Figure("Action", "higher", "share of actions that a rule-based recogniser finds as the text says"),
    "action_new": Figure("Action, new", "higher", "the same for combinations that training does not show"),
    "details": Figure("Side, direction", "higher", "share of actions found with the side and direction, too"),
    "r1": Figure("R-precision 1", "higher", "share of motions whose text is the nearest of 32"),
    "r2": Figure("R-precision 2", "higher", "share whose text is among the two nearest"),
    "r3": Figure("R-precision 3", "higher", "share whose text is among the three nearest"),
    "fid": Figure("FID", "lower", "squared Frechet distance of motion vectors to the truth's"),
    "diversity": Figure("Diversity", "near", "mean distance between vectors of different motions"),
    "multimodality": Figure("MultiModality", "near", "mean distance between vectors of four motions for the same text"),
}
DECIDING: Final = ("action", "r1")
KEYS: Final = ("motion.npz",)
PAPER: Final[list[dict[str, Any]]] = [{"system": "VersaAnimator"}]
NOTE: Final = (
    "The paper gives no table of text-to-motion figures in numbers; its R-precision and FID are named (VA-17)."
)
_AGAIN: Final = 4  # motions for one text
_TEXTS: Final = 24  # texts that are asked for again


def measure_text_motion(export: Export, options: TextMotionOptions, folder: Path) -> dict[str, Any]:
    """Figures of a text-to-motion network for `trainers.evaluate`.

    Each clip's own words are asked for at its own length: a caption of all of it, else those of its parts in time.
    R-precision, FID, diversity and MultiModality are of the network `versa.evaluator` (`evaluator=RUN`; trained now
    where none is given).

    Raises:
        ConfigError: no clips with motion and text in the splits, or earlier networks that are not there.
    """
    index, actor = Index.load(options.shards), Actor(export, options.device, options.tokenizer)
    encoder, found = load_text_motion_evaluator(
        options.evaluator, folder / "evaluator", options.shards, options.evaluator_config
    )
    splits = {}
    for split in present_splits(index, options, KEYS):
        acts = [act for act in load_acts(options.shards, ids_of(index, split, KEYS, options.clips), KEYS) if _said(act)]
        if not acts:
            raise ConfigError(f"{options.shards}: no clip of {split} has a caption that says what is done")
        splits[split] = _measure_split(actor, encoder, acts, options) | {"seen_in_training": split == "train"}
    return {
        "evaluator": describe(found),
        "figures": meanings(FIGURES),
        "splits": splits,
        "paper": {"source": "VersaAnimator", "rows": PAPER, "note": NOTE},
    }


def _said(act: Act) -> Any:
    return act.text or act.spans or None


def _measure_split(
    actor: Actor, encoder: TextMotionEvaluator, acts: Sequence[Act], options: TextMotionOptions
) -> dict[str, Any]:
    def asked(texts: Sequence[Any], seed: int) -> list[np.ndarray]:
        requests = [MotionRequest(text, seconds=act.seconds) for text, act in zip(texts, acts, strict=True)]
        return actor.perform(requests, options, seed)

    def shuffled(seed: int) -> list[Any]:
        shift = 1 + int(np.random.default_rng(seed).integers(max(1, len(acts) - 1)))
        others = [acts[(i + shift) % len(acts)] for i in range(len(acts))]
        return [other.text or " then ".join(text for *_, text in other.spans) for other in others]

    own = [_said(act) for act in acts]
    answers: dict[str, Callable[[int], list[np.ndarray]]] = {
        "model": lambda seed: asked(own, seed),
        "shuffled_text": lambda seed: asked(shuffled(seed), seed),
        "random": lambda seed: [actor.random(act, seed + i) for i, act in enumerate(acts)],
    }
    fixed = {"tokens": [actor.through_tokens(act.motion) for act in acts], "truth": [act.motion for act in acts]}
    output = [name for name in ("model", "shuffled_text") if options.wants(name)]
    repeated = _AGAIN * min(_TEXTS, len(acts)) if options.wants("model") else 0
    options.progress.expect(len(options.seeds) * (len(output) * len(acts) + repeated))
    labels = {name: label for name, label in LABELS.items() if options.wants(name)}
    systems = {}
    for name in labels:
        started = time.perf_counter()
        if name in fixed:
            systems[name] = spread([measure(fixed[name], acts, encoder)] * len(options.seeds))
            continue
        figures = [measure(answers[name](seed), acts, encoder) for seed in options.seeds]
        if name == "model":
            for seed, one in zip(options.seeds, figures, strict=True):
                one["multimodality"] = _multimodality(actor, encoder, acts[:_TEXTS], options, seed)
        systems[name] = spread(figures)
        logger.info("  %s: %.0f s", LABELS[name], time.perf_counter() - started)
    rivals = {name: found for name, found in systems.items() if name != "tokens"}  # a bound, no rival
    deciding = [name for name in DECIDING if name in systems["model"]]
    verdicts = {name: verdict(rivals, name, FIGURES[name], LABELS, len(acts)) for name in deciding}
    return split_results([act.info for act in acts], sum(act.seconds for act in acts), systems, labels, verdicts)


def measure(motions: Sequence[np.ndarray], acts: Sequence[Act], encoder: TextMotionEvaluator) -> dict[str, float]:
    """Figures of one answer: motions (M, 263), one for each clip."""
    from metrics import FrechetDistance, RPrecision

    output, true = vectors(encoder, motions), vectors(encoder, [act.motion for act in acts])
    whole = [i for i, act in enumerate(acts) if act.text]
    precision, distance = RPrecision(), PerClip(FrechetDistance(encoder.features))
    ranked = np.full((len(acts), precision.top), np.nan)
    if len(whole) > 1:
        with torch.no_grad():
            texts = encoder.encode_text(encoder.read([acts[i].text or "" for i in whole]))
        precision.update(output[whole], texts)
        ranked[whole] = precision.of_each().cpu().numpy()
    for one, other in zip(output.double(), true.double(), strict=True):
        distance.update(one[None], generated=True)
        distance.update(other[None], generated=False)
        distance.end_clip()
    figures: dict[str, float] = {f"r{k + 1}": mean_over_clips(list(ranked[:, k])) for k in range(precision.top)}
    figures["fid"] = distance.compute()
    figures["diversity"] = _diversity(output.double())
    return {**done(motions, acts), **figures}


def done(motions: Sequence[np.ndarray], acts: Sequence[Act]) -> dict[str, float]:
    """Whether the actions of clips are done; nothing where it is not known what they are."""
    from metrics.actions import recognise

    right: dict[str, list[list[bool]]] = {"action": [], "action_new": [], "details": []}
    for motion, act in zip(motions, acts, strict=True):
        for of_clips in right.values():
            of_clips.append([])
        for action in act.actions:
            part = act.part(motion, action)
            shown = recognise(part) if len(part) else None
            good = shown is not None and shown.agrees(action)
            right["action"][-1].append(good)
            right["details"][-1].append(shown is not None and shown.agrees(action, "side", "direction"))
            if act.held_out:
                right["action_new"][-1].append(good)
    return {name: _share(of_clips) for name, of_clips in right.items() if any(of_clips)}


def _share(of_clips: Sequence[Sequence[bool]]) -> float:
    """The share of all actions of all clips that are done."""
    return mean_over_clips([float(np.mean(one)) if one else np.nan for one in of_clips], [len(one) for one in of_clips])


def _diversity(embeddings: torch.Tensor) -> float:
    """Mean distance between the vectors (B, D) of all pairs."""

    def of(numbers: np.ndarray) -> float:
        return float(torch.pdist(embeddings[numbers]).mean()) if len(numbers) > 1 else float("nan")

    return over_clips(of, len(embeddings))


def by_action(motions: Sequence[np.ndarray], acts: Sequence[Act]) -> dict[str, float]:
    """Share of each action that is done, by its name."""
    names = sorted({action["name"] for act in acts for action in act.actions})
    found = {}
    for name in names:
        some = [(m, act) for m, act in zip(motions, acts, strict=True) if any(a["name"] == name for a in act.actions)]
        found[name] = done([m for m, _ in some], [act for _, act in some])["action"]
    return found


@torch.no_grad()
def vectors(encoder: TextMotionEvaluator, motions: Sequence[np.ndarray]) -> torch.Tensor:
    """(B, D) of motions of several lengths."""
    lengths = torch.tensor([len(motion) for motion in motions])
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(m).float() for m in motions], batch_first=True)
    parts = zip(padded.split(64), lengths.split(64), strict=True)
    return torch.cat([encoder.encode_motion(motion, length) for motion, length in parts])


def _multimodality(
    actor: Actor, encoder: TextMotionEvaluator, acts: Sequence[Act], options: TextMotionOptions, seed: int
) -> float:
    from metrics import MultiModality

    varied = MultiModality()
    requests = [MotionRequest(_said(act), seconds=act.seconds) for act in acts for _ in range(_AGAIN)]
    for rows in vectors(encoder, actor.perform(requests, options, seed + 1)).split(_AGAIN):
        varied.update(rows)
    return float(varied.compute())
