"""Measuring a motion tokenizer: motion through its tokens and back, beside simple codes of as many bits (VA-3)."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from datamodules.clips import read_clips
from datamodules.shards.index import Index
from models.human.motion import FPS, PARTS, recover_joints
from models.versa import MotionTokenizer
from pretrained.exports import Export, load_network
from settings import ConfigError, get_logger
from settings.device import device_of
from trainers.evaluation.clips import ids_of, present_splits
from trainers.evaluation.comparison import Figure, spread, verdict
from trainers.evaluation.per_clip import combine, mean_over_clips
from trainers.evaluation.tables import meanings
from trainers.versa.evaluation.block_pca import BlockPCA
from trainers.versa.system import TokenizerOptions

logger = get_logger(__name__)

LABELS: Final = {"model": "this tokenizer", "pca": "PCA, as many bits", "mean": "mean pose"}
FIGURES: Final = {
    "mpjpe": Figure("MPJPE", "lower", "mean distance of joints in mm, both from the origin: turns and ways add up"),
    "of_mean": Figure("MPJPE of mean pose", "lower", "MPJPE as a share of the mean pose's"),
    "mpjpe_local": Figure("MPJPE, local", "lower", "the same in mm with place and facing of each frame taken off"),
    "velocity_error": Figure("Velocity", "lower", "mean distance of joints' velocities, mm a second"),
    "contacts": Figure("Contacts", "higher", "share of foot contacts told rightly"),
    "bits": Figure("Bits", "near", "a second"),
    "code_use": Figure("Codes used", "higher", "share of the codebook that comes in these clips"),
    "code_use_train": Figure("Codes used, training", "higher", "share of the codebook that comes in training clips"),
    "perplexity": Figure("Perplexity", "higher", "exp of the entropy of the codes in these clips"),
}
KEYS: Final = ("motion.npz",)
DECIDING: Final = ("mpjpe", "mpjpe_local")
PAPER_SOURCE: Final = "VersaAnimator"
NONE: Final = "The paper gives no figures of its tokenizer."

Rebuild = Callable[[np.ndarray], np.ndarray]


def measure_tokenizer(export: Export, options: TokenizerOptions, folder: Path) -> dict[str, Any]:
    """Figures of the tokenizer for `trainers.evaluate`.

    Beside it stand the mean vector of the training split and `BlockPCA`, fitted to training clips in the network's own
    normalised units, with log2(codes) bits (rounded up) for as many frames as a token has.

    Raises:
        ConfigError: no clips with motion in the splits, or none to fit to.
    """
    device = device_of(options.device)
    network = load_network(MotionTokenizer, export).to(device)
    bits = math.ceil(math.log2(network.codes))
    training = load_motions(options.shards, "train", options.neighbours, None)
    if not training:
        raise ConfigError(f"{options.shards} has no training clips with motion.npz for the PCA to be fitted to")
    mean, std = (getattr(network, f"motion_{name}").cpu().numpy() for name in ("mean", "std"))
    pca = BlockPCA([(motion - mean) / std for motion in training], bits, network.rate)
    logger.info("PCA: bits of its components %s", [b for b in pca.allocation if b])
    rebuild: dict[str, Rebuild] = {
        "model": lambda motion: _decoded(network, motion, tokens_of(network, motion)),
        "pca": lambda motion: pca.reconstruct((motion - mean) / std) * std + mean,
        "mean": lambda motion: np.repeat(mean[None], len(motion), 0),
    }
    rate = {"model": bits, "pca": bits, "mean": 0}
    known = _use(network, training)["code_use"]
    splits = {}
    for split in present_splits(Index.load(options.shards), options, KEYS):
        started = time.perf_counter()
        clips = load_motions(options.shards, split, options.clips, options.seconds)
        ids = ids_of(Index.load(options.shards), split, KEYS, options.clips)
        options.progress.expect(len(rebuild) * len(clips))
        figures = {}
        for name, function in rebuild.items():
            figures[name] = measure(function, clips)
            options.progress.advance(len(clips), LABELS[name])
        for name, found in figures.items():
            found["of_mean"] = combine(lambda own, mean: own / mean, found["mpjpe"], figures["mean"]["mpjpe"])
            found["bits"] = rate[name] * FPS / network.rate
        figures["model"] |= {**_use(network, clips), "code_use_train": known}
        systems = {name: spread([found]) for name, found in figures.items() if options.wants(name)}
        splits[split] = {
            "clips": len(clips),
            "ids": ids,
            "seconds": sum(map(len, clips)) / FPS,
            "speakers": _speakers(options.shards, split),
            "seen_in_training": split == "train",
            "systems": systems,
            "labels": {name: LABELS[name] for name in systems},
            "verdicts": {name: verdict(systems, name, FIGURES[name], LABELS, len(clips)) for name in DECIDING},
        }
        logger.info("%s: %d clips, %.0f s", split, len(clips), time.perf_counter() - started)
    return {
        "pca_bits": pca.allocation,
        "figures": meanings(FIGURES),
        "splits": splits,
        "paper": {"source": PAPER_SOURCE, "rows": [{"system": "VersaAnimator"}], "note": NONE},
    }


def measure(rebuild: Rebuild, clips: Sequence[np.ndarray]) -> dict[str, float]:
    """Figures of one answer to motions (M, 263), each the mean over clips of the mean over frames."""
    figures: dict[str, list[float]] = {"mpjpe": [], "mpjpe_local": [], "velocity_error": [], "contacts": []}
    for motion in clips:
        output = rebuild(motion)
        joints, truth = recover_joints(output.astype(np.float64)), recover_joints(motion.astype(np.float64))
        speeds = (np.diff(each, axis=0) * FPS for each in (joints, truth))
        figures["mpjpe"].append(1000 * _distance(joints, truth))
        figures["mpjpe_local"].append(1000 * _distance(_local(output), _local(motion)))
        figures["velocity_error"].append(1000 * _distance(*speeds) if len(motion) > 1 else math.nan)
        touching = (each[:, PARTS["contacts"]] > 0.5 for each in (output, motion))
        figures["contacts"].append(float(np.mean(np.equal(*touching))))
    found = {name: mean_over_clips(values) for name, values in figures.items()}
    return {name: value for name, value in found.items() if value == value}


@torch.no_grad()
def tokens_of(network: MotionTokenizer, motion: np.ndarray) -> torch.Tensor:
    """Tokens (N,) of a motion (M, 263)."""
    device = network.motion_mean.device
    return network.encode(torch.from_numpy(motion).float().to(device)[None])[0]


@torch.no_grad()
def _decoded(network: MotionTokenizer, motion: np.ndarray, tokens: torch.Tensor) -> np.ndarray:
    return network.decode(tokens[None])[0, : len(motion)].float().cpu().numpy()


def _use(network: MotionTokenizer, clips: Sequence[np.ndarray]) -> dict[str, float]:
    """How many codes come in clips."""
    counts = torch.zeros(network.codes)
    for motion in clips:
        counts += torch.bincount(tokens_of(network, motion).cpu(), minlength=network.codes)
    entropy = torch.special.entr(counts / counts.sum()).sum()
    return {"code_use": float((counts > 0).float().mean()), "perplexity": float(entropy.exp())}


def load_motions(shards: str, split: str, limit: int | None, seconds: float | None) -> list[np.ndarray]:
    """Motions (M, 263) of a split, at most `limit` of them, evenly taken, and only their first seconds."""
    where = {"id": ids_of(Index.load(shards), split, KEYS, limit)}
    frames = None if seconds is None else max(1, round(seconds * FPS))
    return [values["motion.npz"]["motion"][:frames] for _, values in read_clips(shards, ("motion.npz",), where=where)]


def _speakers(shards: str, split: str) -> int:
    index = Index.load(shards)
    return len({s.speaker for shard in index.shards for s in shard.samples if s.split == split})


def _local(motion: np.ndarray) -> np.ndarray:
    """Joints (M, 22, 3) of motion (M, 263) from the pelvis' place on the floor, in the facing frame."""
    others = motion[:, PARTS["positions"]].reshape(len(motion), 21, 3)
    pelvis = np.zeros_like(others[:, :1])
    pelvis[:, 0, 1:2] = motion[:, PARTS["root_height"]]
    return np.concatenate([pelvis, others], axis=1)


def _distance(output: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(output - truth, axis=-1).mean())
