"""Measuring the classifiers: what they tell apart on held-out pairs, at which noise (PH-10 .. PH-14)."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from datamodules.shards.index import Index
from models.paha.classifier import PCEClassifier
from pretrained.exports import Export, load_network
from pretrained.frozen import freeze
from settings import ConfigError, get_logger
from settings.device import device_of
from trainers.evaluation.clips import present_splits
from trainers.evaluation.comparison import spread
from trainers.evaluation.tables import meanings
from trainers.evaluation.video_figures import combined
from trainers.evaluation.video_rows import check_fps
from trainers.paha.evaluation.pair_clips import KEYS, PairClips, load_pairs, pairs_of
from trainers.paha.evaluation.pair_figures import figures_about, figures_of, told_apart
from trainers.paha.evaluation.pair_scores import Asker, together
from trainers.paha.pair_measures import QUARTERS
from trainers.paha.system import PairFigureOptions

logger = get_logger(__name__)

LABELS: Final = {"model": "all noise", **{name: f"{name.replace('_', ' ')} noise" for name in QUARTERS}}
"""Rows: all noise levels, and quarters of them."""
PAPER_SOURCE: Final = "PAHA"
NOTE: Final = (
    "The paper prints no figures of its classifiers by themselves, only what leaving them out does to videos (tables 2 "
    "and 3)."
)


def measure_pairs(export: Export, options: PairFigureOptions, folder: Path) -> dict[str, Any]:
    """Figures of `paha.pce_face` and `paha.pce_nonface` for `trainers.evaluate`, on pairs of `preprocessing.negatives`.

    Raises:
        ConfigError: shards without pairs, or of another latent space.
    """
    device = device_of(options.device)
    network = freeze(load_network(PCEClassifier, export)).to(device)
    index = Index.load(options.shards)
    check_fps(index, options.shards, {"this network": network})
    splits = {}
    for split in present_splits(index, options, KEYS, "pairs (pair.npz, of `python -m preprocessing.negatives`)"):
        started = time.perf_counter()
        ids = pairs_of(index, split, options.clips)
        pairs = load_pairs(options.shards, ids, network, export.settings, "this network", options.seconds)
        splits[split] = _measure_split(network, options, pairs, _length(options, export.settings, pairs))
        splits[split]["seen_in_training"] = split == "train"
        logger.info("%s: %d pairs, %.0f s", split, len(pairs), time.perf_counter() - started)
    return {
        "region": network.region,
        "figures": meanings(figures_about(options.shifts)),
        "splits": splits,
        "paper": {"source": PAPER_SOURCE, "rows": [{"system": "PAHA"}], "note": NOTE},
    }


def _length(options: PairFigureOptions, settings: Mapping[str, Any], pairs: list[PairClips]) -> int:
    """Frames of picture and sound: as asked for, else the least of the training, never more than all pairs have."""
    there = min(pair.frames for pair in pairs)
    if options.length is not None:
        if options.length > there:
            raise ConfigError(f"length={options.length}: the shortest pair has {there} frames; give fewer")
        return options.length
    trained = settings.get("stage", {}).get("lengths") or [there]
    return min(there, *trained)


def _measure_split(
    network: PCEClassifier, options: PairFigureOptions, pairs: list[PairClips], length: int
) -> dict[str, Any]:
    device = next(network.parameters()).device
    asker = Asker(network, device, length, options.shifts, options.draws, options.batch)
    clips = [pair.clip for pair in pairs]
    bands = {"model": list(range(len(QUARTERS))), **{name: [number] for number, name in enumerate(QUARTERS)}}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in bands}
    options.progress.expect(len(options.seeds) * len(pairs))
    for seed in options.seeds:
        parts = []
        for count, part in asker.ask(pairs, seed):
            parts.append(part)
            options.progress.advance(count, "pairs judged")
        scores = together(parts)
        for name, some in bands.items():
            found[name].append(dict(figures_of(scores, clips, some)))
    systems = {name: spread(combined(figures)) for name, figures in found.items() if options.wants(name)}
    judged = systems.get(QUARTERS[0], {})
    return {
        "clips": len(set(clips)),
        "pairs": len(pairs),
        "ids": [pair.id for pair in pairs],
        "length": length,
        "seconds": float(sum(pair.frames / pair.real.info.fps for pair in pairs)),
        "speakers": len({pair.real.info.speaker for pair in pairs}),
        "systems": systems,
        "labels": {name: LABELS[name] for name in systems},
        "verdicts": {name: told_apart(figure, name, "at low noise") for name, figure in judged.items()},
    }
