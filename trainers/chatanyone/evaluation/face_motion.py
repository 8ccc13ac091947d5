"""Measuring a network that makes head motion from speech: ChatAnyone's face motion (CA-4 to CA-6, CA-17)."""

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from datamodules.shards.index import Index
from models.chatanyone.face_motion import FaceMotion
from models.chatanyone.face_motion_space import HeadMotion, HeadSpace
from models.chatanyone.generate import generate
from models.chatanyone.head import HeadTemplate
from models.human.keypoints import FACE, POINTS, lip_opening
from pretrained.exports import Export, load_frozen, load_network
from pretrained.hashes import short
from settings import ConfigError, get_logger
from settings.device import device_of
from trainers.chatanyone.evaluation.talks import Talk, keys_of, load_talks, others, references_of
from trainers.chatanyone.system import FaceMotionOptions
from trainers.evaluation.clips import present_splits
from trainers.evaluation.comparison import Figure, spread, verdict
from trainers.evaluation.per_clip import correlation, mean_over_clips
from trainers.evaluation.split import split_results
from trainers.evaluation.tables import meanings
from trainers.run.exports import find_export

logger = get_logger(__name__)

LABELS: Final = {
    "model": "this model",
    "shuffled_audio": "shuffled audio",
    "mean_motion": "mean motion",
    "reference": "with reference",
    "truth": "truth",
}
FIGURES: Final = {
    "lip_correlation": Figure(
        "Lips r",
        "higher",
        "Pearson correlation of the opening of the lips, of points that the template makes of coefficients, with the "
        "truth's; mean over clips",
    ),
    "style_mae": Figure(
        "Style MAE", "lower", "mean absolute error of the expression coefficients, in units of their usual spread"
    ),
    "style_ssim": Figure("Style SSIM", "higher", "structural similarity of each coefficient's course with the truth's"),
    "expression_range": Figure("Range", "near", "how far expression goes from its mean, in units of its usual spread"),
    "pose_range": Figure("Pose range", "near", "likewise of the pose, in units of how far heads usually move"),
    "diversity": Figure(
        "Diversity", "near", "standard deviation of the face's key points over frames, hundredths of the frame's height"
    ),
}
PAPER: Final[list[dict[str, Any]]] = [
    {"system": "without style transfer", "style_mae": 0.074, "style_ssim": 0.373},
    {"system": "ChatAnyone", "style_mae": 0.049, "style_ssim": 0.709},
]
PAPER_SOURCE: Final = "ChatAnyone, table 4"
DIFFERENT: Final = (
    "The paper measures coefficients of another template (FaceVerse) on its own data; these figures are of this data "
    "and this template. They may not be compared."
)
_POOL: Final = 64  # clips that references are taken from
_REACH: Final = 4.0  # usual spreads that a coefficient's values span, for SSIM's constants


def measure_face_motion(export: Export, options: FaceMotionOptions, folder: Path) -> dict[str, Any]:
    """Figures of the face motion stage for `trainers.evaluate`, on shards with head.npz.

    Beside the network: its answer to another clip's speech, the mean expression held, its answer with a reference of
    the same speaker (another clip), and, for each setting of `options.ranges`, with both dials there.

    Raises:
        ConfigError: no template, or coefficients of another one; no clips in the splits.
    """
    models = {"model": FaceModel(export, options.device)}
    labels = dict(LABELS)
    for name, run in options.beside.items():
        models[name] = FaceModel(find_export(run), options.device)
        labels[name] = name
    labels |= {_dial(setting): f"range {setting:g}" for setting in options.ranges}
    template = template_of(export, options.template)
    index = Index.load(options.shards)
    for name, model in models.items():
        made_by = index.statistics.get("head", {}).get("network", "")
        wanted = model.network.space.template_sha256
        for what, found in ((f"{options.shards} holds coefficients", made_by), ("template", template.sha256)):
            if found and wanted and found != wanted:
                raise ConfigError(
                    f"{what} of another head template than {name} was trained on (its hash begins with "
                    f"{short(found)}, wanted is {short(wanted)})"
                )
    network = models["model"].network
    pool = load_talks(network, options.shards, "train", _POOL, None)
    splits = {}
    keys = keys_of(network)
    for split in present_splits(
        index, options, keys, "head.npz (`python -m preprocessing.features writer=head`), pose"
    ):
        talks = load_talks(network, options.shards, split, options.clips, options.seconds)
        splits[split] = _measure_split(models, labels, options, talks, pool, template)
        splits[split]["seen_in_training"] = split == "train"
    return {
        "figures": meanings(FIGURES),
        "splits": splits,
        "paper": {"source": PAPER_SOURCE, "rows": PAPER, "note": DIFFERENT},
    }


class FaceModel:
    """A trained network and where it runs.

    Args:
        export: the network.
        device: cpu, cuda, or auto.
    """

    def __init__(self, export: Export, device: str):
        self.export, self.device = export, device_of(device)
        self.network = load_network(FaceMotion, export).to(self.device)


class Projector:
    """Coefficients to points, by a template.

    Args:
        template: frozen.
        sha256: of its weights.
    """

    def __init__(self, template: HeadTemplate, sha256: str):
        self.template, self.sha256 = template, sha256

    @torch.no_grad()
    def __call__(self, motion: HeadMotion, identity: np.ndarray) -> np.ndarray:
        """(T, 134, 2) key points, heights of the frame; 0 but for those of the face."""
        person = torch.from_numpy(identity).expand(len(motion.pose), -1)
        points = self.template.landmarks(motion.expression, motion.pose, person)
        output = np.zeros((len(points), POINTS, 2))
        output[:, FACE] = points[..., :2].numpy()
        return output


def template_of(export: Export, given: str | None) -> Projector:
    """The head template that is given, else that of the run's config.

    Raises:
        ConfigError: there is none.
    """
    name = given or export.settings.get("stage", {}).get("template")
    if name is None:
        raise ConfigError(
            f"{export.name} does not say which head template its coefficients are of: give template=FOLDER (made by "
            "`python -m preprocessing.head`)"
        )
    return Projector(*load_frozen(HeadTemplate, "template", name, "a head template"))


def _measure_split(
    models: dict[str, FaceModel],
    labels: dict[str, str],
    options: FaceMotionOptions,
    talks: Sequence[Talk],
    pool: Sequence[Talk],
    template: Projector,
) -> dict[str, Any]:
    network = models["model"].network
    space = copy.deepcopy(network.space).cpu()
    run = partial(_generate, talks=talks, options=options)
    own = [talk.speech for talk in talks]
    answers: dict[str, Callable[[int], list[HeadMotion]]] = {
        name: partial(run, model, speech=own) for name, model in models.items()
    }
    answers["shuffled_audio"] = lambda seed: run(models["model"], seed, speech=others(talks, seed))
    style = references_of(talks, pool, network.reference_frames) if network.reference else None
    if style is not None:
        answers["reference"] = partial(run, models["model"], speech=own, reference=style)
    elif network.reference:
        logger.info("  no reference: a speaker has no other clip of %d frames in train", network.reference_frames)
    if network.use_ranges:
        answers |= {
            _dial(setting): partial(run, models["model"], speech=own, dial=setting) for setting in options.ranges
        }
    answers = {name: answer for name, answer in answers.items() if name in options.beside or options.wants(name)}
    options.progress.expect(len(answers) * len(options.seeds) * len(talks))
    figures: dict[tuple[str, int], dict[str, float]] = {}
    for name, answer in answers.items():
        started = time.perf_counter()
        for seed in options.seeds:
            figures[name, seed] = measure(answer(seed), talks, space, template)
        logger.info("  %s: %.0f s", labels[name], time.perf_counter() - started)
    mean = space.mean
    still = [
        HeadMotion(mean.expand(talk.frames, -1), torch.from_numpy(talk.pose[:1]).expand(talk.frames, -1))
        for talk in talks
    ]
    true = [HeadMotion(torch.from_numpy(talk.expression), torch.from_numpy(talk.pose)) for talk in talks]
    for name, fixed in (("mean_motion", still), ("truth", true)):
        if options.wants(name):
            once = measure(fixed, talks, space, template)
            figures |= {(name, seed): once for seed in options.seeds}
    names = list(dict.fromkeys(name for name, _ in figures))
    systems = {name: spread([figures[name, seed] for seed in options.seeds]) for name in labels if name in names}
    seconds = sum(talk.frames / talk.info.fps for talk in talks)
    verdicts = _verdicts(systems, labels, options, len(talks))
    return split_results([talk.info for talk in talks], seconds, systems, labels, verdicts)


def measure(
    generated: Sequence[HeadMotion], talks: Sequence[Talk], space: HeadSpace, template: Projector
) -> dict[str, float]:
    """All figures of one answer: motion of each clip. `space` is a network's, on the CPU."""
    used = space.used.bool()
    lips, errors, alike, ranges, spreads = [], [], [], [], []
    for motion, talk in zip(generated, talks, strict=True):
        points = template(motion, talk.identity)
        lips.append(correlation(lip_opening(points), np.where(talk.seen, talk.lips, np.nan)))
        ours = space.encode_expression(motion.expression)[:, used]
        theirs = space.encode_expression(torch.from_numpy(talk.expression))[:, used]
        seen = torch.from_numpy(talk.seen)
        errors.append(float((ours - theirs).abs()[seen].mean()))
        alike.append(similarity(ours[seen], theirs[seen]))
        whole = space.encode(HeadMotion(motion.expression[None], motion.pose[None]), motion.pose[:1])
        ranges.append(space.ranges(whole)[0].numpy())
        spreads.append(100 * float(points[:, FACE].std(0).mean()))
    return {
        "lip_correlation": mean_over_clips(lips),
        "style_mae": mean_over_clips(errors),
        "style_ssim": mean_over_clips(alike),
        "expression_range": mean_over_clips([float(each[0]) for each in ranges]),
        "pose_range": mean_over_clips([float(each[1]) for each in ranges]),
        "diversity": mean_over_clips(spreads),
    }


def similarity(one: Tensor, other: Tensor) -> float:
    """SSIM of coefficients (T, E), in usual spreads: of each one's course over the clip, mean over coefficients.

    They are taken as brightness from 0 to 4 spreads with the mean in the middle, as SSIM means nothing around zero.
    """
    small, smaller = (0.03 * _REACH) ** 2, (0.01 * _REACH) ** 2
    one, other = one + _REACH / 2, other + _REACH / 2
    a, b = one.mean(0), other.mean(0)
    together = ((one - a) * (other - b)).mean(0)
    spreads = one.var(0, correction=0) + other.var(0, correction=0)
    level = (2 * a * b + smaller) / (a.square() + b.square() + smaller)
    return float((level * (2 * together + small) / (spreads + small)).mean())


def monotone(systems: dict[str, Any], settings: Sequence[float], figure: str) -> bool:
    """Whether a larger setting of the dials gives a larger measured range, setting after setting."""
    values = [systems[_dial(setting)][figure]["mean"] for setting in sorted(settings)]
    return all(low < high for low, high in pairwise(values))


def _verdicts(
    systems: dict[str, Any], labels: dict[str, str], options: FaceMotionOptions, clips: int
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    plain: dict[str, Any] = {
        name: systems[name] for name in ("model", "shuffled_audio", "mean_motion", "truth") if name in systems
    }
    if "model" in plain:
        found["lip_correlation"] = verdict(plain, "lip_correlation", FIGURES["lip_correlation"], labels, clips)
    if "model" in systems and "reference" in systems:
        against = {"model": systems["reference"], "without": systems["model"]}
        named = {"model": labels["reference"], "without": "this model without a reference"}
        found["style_mae"] = verdict(against, "style_mae", FIGURES["style_mae"], named, clips)
    if len(options.ranges) > 1 and all(_dial(setting) in systems for setting in options.ranges):
        for name in ("expression_range", "pose_range"):
            rises = monotone(systems, options.ranges, name)
            told = "rises with every setting of the dials" if rises else "does not rise with every setting of the dials"
            outcome = "win" if rises else "loss"
            found[name] = {"outcome": outcome, "beats_all": rises, "best_baseline": None, "rivals": {}, "text": told}
    return found


def _generate(
    model: FaceModel,
    seed: int,
    *,
    talks: Sequence[Talk],
    options: FaceMotionOptions,
    speech: Sequence[np.ndarray],
    reference: Sequence[np.ndarray] | None = None,
    dial: float | None = None,
) -> list[HeadMotion]:
    """Motion of every clip, in batches of clips sorted by length."""
    output: list[HeadMotion | None] = [None] * len(talks)
    order = sorted(range(len(talks)), key=lambda i: talks[i].frames)
    for number, start in enumerate(range(0, len(order), options.batch)):
        part = order[start : start + options.batch]
        frames = max(talks[i].frames for i in part)

        def tensor(values: Sequence[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(values)).float().to(model.device)

        motion = generate(
            model.network,
            tensor(_padded([speech[i] for i in part])),
            tensor([talks[i].pose[0] for i in part]),
            frames=frames,
            seed=seed + 1000 * number,
            steps=options.steps,
            sampler=options.sampler,
            guidance=options.guidance,
            expression_range=dial,
            pose_range=dial,
            reference=None if reference is None else tensor([reference[i] for i in part]),
        )
        for row, i in enumerate(part):
            own = talks[i].frames
            output[i] = HeadMotion(motion.expression[row, :own].cpu(), motion.pose[row, :own].cpu())
        options.progress.advance(len(part), "clips made")
    return [one for one in output if one is not None]


def _padded(speech: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Sound (N,) or layers (L, S, C), filled up with silence to the longest."""
    axis = 0 if speech[0].ndim == 1 else 1
    longest = max(one.shape[axis] for one in speech)
    return [
        np.pad(one, [(0, longest - one.shape[axis]) if place == axis else (0, 0) for place in range(one.ndim)])
        for one in speech
    ]


def _dial(setting: float) -> str:
    return f"range_{setting:g}"
