"""Measuring audio to motion: hands that follow speech, and text that is still done meanwhile (VA-8, VA-9)."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from datamodules.media.hearing import audio_onsets
from datamodules.shards.index import Index
from models.human.motion import FPS, recover_joints
from models.human.projection import project_joints
from models.versa.generate import MotionRequest
from models.versa.text import SPEECH
from pretrained.exports import Export
from settings import ConfigError, get_logger
from trainers.evaluation.clips import ids_of, present_splits
from trainers.evaluation.comparison import Figure, spread, verdict
from trainers.evaluation.per_clip import PerClip, combine, mean_over_clips
from trainers.evaluation.split import split_results
from trainers.evaluation.tables import meanings
from trainers.run.exports import find_export
from trainers.versa.evaluation.acting import Act, Actor, Spans, load_acts
from trainers.versa.evaluation.text_motion import by_action, done
from trainers.versa.system import GesturingOptions

logger = get_logger(__name__)

LABELS: Final = {
    "model": "this model",
    "shuffled_audio": "shuffled audio",
    "text_alone": "text branch alone",
    "random": "random tokens",
    "tokens": "truth through tokens",
    "truth": "truth",
}
FIGURES: Final = {
    "strokes": Figure(
        "Strokes F1", "higher", "beat gestures within 0.12 s of the true ones, where those are known: F1"
    ),
    "bas": Figure("BAS", "near", "beat alignment of motion beats with speech onsets, 0 to 1"),
    "bas_distance": Figure("|BAS - truth|", "lower", "distance of BAS from the truth's own"),
    "speed": Figure("Speed", "near", "mean speed of the wrists, metres a second"),
    "action": Figure("Action while speaking", "higher", "share of actions asked for by text that are done meanwhile"),
    "action_both": Figure("Action, both shown", "higher", "the same for clips that themselves show speech and action"),
}
KEYS: Final = ("motion.npz", "speech.npz", "audio.flac")
PAPER: Final[list[dict[str, Any]]] = [{"system": "VersaAnimator"}]
NOTE: Final = "The paper measures videos, not body motion, of speech."
NEAR: Final = 0.12  # seconds
_WRISTS: Final = [20, 21]


class Task(NamedTuple):
    """Something to do while speaking.

    Attributes:
        talk: whose speech.
        text: what is asked for, in time.
        shown: a clip that shows it, from the same beginning.
    """

    talk: Act
    text: Spans
    shown: Act


def measure_gesturing(export: Export, options: GesturingOptions, folder: Path) -> dict[str, Any]:
    """Figures of an audio-to-motion network for `trainers.evaluate`.

    Speech alone directs where hands are measured. "Action while speaking": the texts of silent clips are asked for over
    the beginning of others' speech. "Action, both shown": the text of each clip that itself shows speech and an action,
    in its own time; "truth through tokens" is then what the tokenizer lets through. What "shuffled audio" does in these
    rows is without the text. Other runs (`options.beside`), such as one that fuses the last features only, are measured
    as the model is.

    Raises:
        ConfigError: no clips with motion and speech in the splits, names of other runs that are those of baselines, or
            networks that are not there.
    """
    if taken := sorted(set(options.beside) & {*LABELS, *LABELS.values()}):
        raise ConfigError(f"beside: {taken[0]!r} is the name of a baseline; give that run another one")
    index, actor = Index.load(options.shards), Actor(export, options.device, options.tokenizer)
    others = {name: Actor(find_export(run), options.device, options.tokenizer) for name, run in options.beside.items()}
    splits, figures = {}, dict(FIGURES)
    for split in present_splits(index, options, KEYS):
        acts = load_acts(options.shards, ids_of(index, split, KEYS, options.clips), KEYS)
        silent = [
            act
            for act in load_acts(options.shards, ids_of(index, split, ("motion.npz",), options.clips), ("motion.npz",))
            if act.actions and act.text
        ]
        splits[split] = _measure_split(actor, others, acts, silent, options) | {"seen_in_training": split == "train"}
        for name in splits[split]["systems"]["model"]:
            if name.startswith("action "):
                which = name.removeprefix("action ")
                figures[name] = Figure(f"  {which}", "higher", f"the same for the action '{which}'")
    return {
        "figures": meanings(figures),
        "splits": splits,
        "paper": {"source": "VersaAnimator", "rows": PAPER, "note": NOTE},
    }


def _measure_split(
    actor: Actor, others: Mapping[str, Actor], acts: Sequence[Act], silent: Sequence[Act], options: GesturingOptions
) -> dict[str, Any]:
    talks = [act for act in acts if not act.actions] or list(acts)
    asked = _asked(talks, silent)
    both = [Task(act, act.spans, act) for act in acts if act.spans and act.actions]

    def speaking(
        who: Actor, seed: int, audio: Sequence[np.ndarray | None], text: str | None = None
    ) -> list[np.ndarray]:
        requests = [MotionRequest(text, own, act.seconds, act.info.fps) for act, own in zip(talks, audio, strict=True)]
        return who.perform(requests, options, seed)

    def acting(who: Actor, tasks: Sequence[Task], seed: int, with_text: bool) -> list[np.ndarray]:
        requests = [
            MotionRequest(task.text if with_text else None, who.hear(task.talk), task.talk.seconds, task.talk.info.fps)
            for task in tasks
        ]
        return who.perform(requests, options, seed)

    own = [actor.hear(act) for act in talks]
    answers: dict[str, Callable[[int], list[np.ndarray]]] = {
        "model": partial(speaking, actor, audio=own),
        **{name: partial(speaking, other, audio=[other.hear(act) for act in talks]) for name, other in others.items()},
        "shuffled_audio": lambda seed: speaking(actor, seed, _others(own, seed)),
        "random": lambda seed: [actor.random(act, seed + i) for i, act in enumerate(talks)],
    }
    if actor.network.text is not None:
        answers["text_alone"] = partial(speaking, actor, audio=[None] * len(talks), text=SPEECH)
    answers = {name: answer for name, answer in answers.items() if name in others or options.wants(name)}
    fixed = {"tokens": [actor.through_tokens(act.motion) for act in talks], "truth": [act.motion for act in talks]}
    labels = {
        "model": LABELS["model"],
        **{name: name for name in others},
        **{name: label for name, label in LABELS.items() if name in answers or name in fixed},
    }
    labels = {name: label for name, label in labels.items() if name in others or options.wants(name)}
    texts = [name for name in answers if others.get(name, actor).network.text is not None]
    tasks = sum(len(talks) for name in answers if name != "random")
    tasks += sum(len(asked) + len(both) for name in texts if name not in ("random", "text_alone"))
    options.progress.expect(tasks * len(options.seeds))
    systems = {}
    for name in labels:
        started = time.perf_counter()
        if name in fixed:
            one = measure(fixed[name], talks)
            if both:
                motions = [task.shown.motion for task in both]
                motions = [actor.through_tokens(motion) for motion in motions] if name == "tokens" else motions
                one["action_both"] = done(motions, [task.shown for task in both])["action"]
            systems[name] = spread([one] * len(options.seeds))
            continue
        found = [measure(answers[name](seed), talks) for seed in options.seeds]
        who = others.get(name, actor)
        if who.network.text is not None and name not in ("random", "text_alone"):
            for seed, one in zip(options.seeds, found, strict=True):
                for kind, tasks in (("action", asked), ("action_both", both)):
                    if tasks:
                        one |= _acted(acting(who, tasks, seed, name != "shuffled_audio"), tasks, kind, name == "model")
        systems[name] = spread(found)
        logger.info("  %s: %.0f s", labels[name], time.perf_counter() - started)
    rivals = {name: found for name, found in systems.items() if name not in ("tokens", *others)}  # a bound, ablations
    deciding = [name for name in ("strokes", "bas_distance", "action") if name in systems["model"]]
    count = {name: len(asked) if name == "action" else len(talks) for name in deciding}
    verdicts = {name: verdict(rivals, name, FIGURES[name], LABELS, count[name]) for name in deciding}
    seconds = sum(act.seconds for act in talks)
    infos = [act.info for act in talks]
    return split_results(infos, seconds, systems, labels, verdicts, texts_over_speech=len(asked))


def measure(motions: Sequence[np.ndarray], acts: Sequence[Act]) -> dict[str, float]:
    """Figures of one answer: motions (M, 263), one for each clip of somebody who speaks."""
    from metrics import BeatAlignmentScore
    from metrics.actions import strokes

    score, true_score = PerClip(BeatAlignmentScore()), PerClip(BeatAlignmentScore())
    speeds, hits, counts = [], [], []
    for motion, act in zip(motions, acts, strict=True):
        if act.audio is None:
            raise ConfigError(f"{act.info.id} has no sound")
        onsets = audio_onsets(act.audio)
        score.update(_seen(motion), onsets, FPS)
        true_score.update(_seen(act.motion), onsets, FPS)
        score.end_clip()
        true_score.end_clip()
        wrists = np.asarray(recover_joints(motion.astype(np.float64)))[:, _WRISTS]
        speeds.append(np.linalg.norm(np.diff(wrists, axis=0), axis=-1).mean() * FPS)
        truth = np.asarray(act.info.extra.get("truth", {}).get("strokes", []), np.float64)
        found = strokes(motion) if len(truth) else truth
        hits.append(2.0 * matched(found, truth))
        counts.append(len(found) + len(truth))
    bas = score.compute()
    figures = {
        "bas": bas,
        "bas_distance": combine(lambda value, true: abs(value - true), bas, true_score.compute()),
        "speed": mean_over_clips(speeds),
    }
    if any(counts):
        # 2 hits / (made + true), summed over clips above and below.
        figures["strokes"] = mean_over_clips([hit / max(count, 1) for hit, count in zip(hits, counts)], counts)
    return figures


def matched(found: np.ndarray, truth: np.ndarray, near: float = NEAR) -> int:
    """How many of two ascending lists of times belong together, one to one, no farther apart than `near` seconds."""
    i = j = count = 0
    while i < len(found) and j < len(truth):
        if abs(found[i] - truth[j]) <= near:
            i, j, count = i + 1, j + 1, count + 1
        elif found[i] < truth[j]:
            i += 1
        else:
            j += 1
    return count


def _asked(talks: Sequence[Act], silent: Sequence[Act]) -> list[Task]:
    """The texts of silent clips, each over the beginning of the speech of a clip that is long enough."""
    tasks = []
    for i, other in enumerate(silent):
        around = (talks[(i + step) % len(talks)] for step in range(len(talks)))
        talk = next((one for one in around if one.seconds >= other.seconds), None)
        if talk is not None:
            tasks.append(Task(talk, [(0.0, other.seconds, other.text or "")], other))
    return tasks


def _acted(motions: Sequence[np.ndarray], tasks: Sequence[Task], kind: str, each: bool) -> dict[str, float]:
    shown = [task.shown for task in tasks]
    cut = [motion[: len(act.motion)] for motion, act in zip(motions, shown, strict=True)]
    found = {kind: done(cut, shown)["action"]}
    if each and kind == "action":
        found |= {f"action {name}": share for name, share in by_action(cut, shown).items()}
    return found


def _seen(motion: np.ndarray) -> torch.Tensor:
    """A motion (M, 263) as poses (M, 134, 3), as beats are counted in."""
    keypoints, scores = project_joints(recover_joints(torch.from_numpy(motion).double()))
    return torch.cat([keypoints, scores[..., None]], -1)


def _others(heard: Sequence[np.ndarray | None], seed: int) -> list[np.ndarray | None]:
    """The speech of another clip for each, repeated or cut to its length."""
    shift = 1 + int(np.random.default_rng(seed).integers(max(1, len(heard) - 1)))
    output: list[np.ndarray | None] = []
    for i, speech in enumerate(heard):
        other = heard[(i + shift) % len(heard)]
        if speech is None or other is None:
            output.append(None)
            continue
        if len(heard) == 1:
            other = np.roll(speech, len(speech) // 2, 0)
        output.append(other[np.arange(len(speech)) % len(other)])
    return output
