"""What may change when a run goes on from a checkpoint, and what may not: looked at before anything is written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from pretrained.frozen import frozen_of
from pretrained.hashes import check_same, short
from settings import ConfigError
from trainers.engines.pieces import Reader, is_in_pieces
from trainers.run.checkpoints import read_state
from trainers.stage.base import Stage


@dataclass(frozen=True)
class Rule:
    """What a changed key means for a run that goes on.

    Attributes:
        keys: pattern of dotted config keys.
        why_not: why the change is refused, None where it is used.
    """

    keys: str
    why_not: str | None = None


_ORDER: Final = "the place in the epoch and the order of samples are those of the old value"
RULES: Final = (
    Rule("stage.optimizer.name", "the optimiser's state is that of the old one"),
    Rule("stage.optimizer.*"),
    Rule("stage.schedule*"),
    *(
        Rule(f"stage.network.{name}")
        for name in ("*dropout*", "guidance", "audio_guidance", "temperature", "steps", "sampling_steps")
    ),
    Rule("stage.network.*", "the network of the checkpoint was made with the old value"),
    Rule("stage.*"),
    Rule("seed", _ORDER),
    *(
        Rule(f"data.{name}", _ORDER)
        for name in (
            "name", "window", "window_seconds", "windows", "stride", "windows_per_clip", "epoch", "steps_per_epoch",
            "pairs", "where*", "train_split", "seed", "shuffle_buffer", "streams",
        )
    ),
    Rule("data.*"),
    Rule("init_from", "the run has weights of its own"),
    Rule("*"),
)  # fmt: skip
"""The first rule that fits counts."""


def check_resume(
    checkpoint: Path, state: Mapping[str, Any], before: Mapping[str, Any] | None, values: Mapping[str, Any],
    stage: Stage, datamodule: Any,
) -> list[str]:  # fmt: skip
    """Whether a stage can go on from a checkpoint with a config; nothing is written.

    Args:
        checkpoint: of one file or in pieces.
        state: what `read_state` gives of it.
        before: the config of the run that wrote it, None where it is not known.
        values: the config of the run that is to go on.
        stage: the stage, built of `values`.
        datamodule: the datamodule, built of `values`.

    Returns:
        What changed and is used, as "key: old -> new".

    Raises:
        ConfigError: with the keys that would have to be as they were.
    """
    wrong, used = [], []
    for key, old, new in changes(before, values) if before is not None else ():
        rule = rule_of(key)
        line = f"{key}: {old!r} -> {new!r}"
        if rule.why_not is None:
            used.append(line)
        else:
            wrong.append(f"{line} ({rule.why_not})")
    if wrong:
        raise ConfigError(
            f"cannot go on from {checkpoint} with another {'; '.join(wrong)}. Give the old values, or start a new run "
            "with another run=, from these weights with init_from="
        )
    before_frozen = state.get("frozen", {})  # earlier versions do not say which networks they used
    for name, sha256 in stage.frozen().items():
        used_then = before_frozen.get(name, "")
        check_same(
            sha256,
            used_then,
            f"cannot go on from {checkpoint} beside another network: stage.{name} had the hash {short(used_then)}, now "
            f"it has {short(sha256)}. Give the one that it was trained with, or start a new run with another run=, "
            "from these weights with init_from=",
        )
    if unlike := _unlike(checkpoint, state, stage):
        raise ConfigError(
            f"{checkpoint} is of another network than the config's: {', '.join(unlike[:3])}"
            + (f" and {len(unlike) - 3} more" if len(unlike) > 3 else "")
            + ". Give the options that it was trained with, or start a new run with another run="
        )
    loaders = state.get("loops", {}).get("fit_loop", {}).get("state_dict", {}).get("combined_loader", [])
    there = next((each.get("fingerprint") for each in loaders if isinstance(each, Mapping)), None)
    here = getattr(datamodule, "fingerprint", None)
    if there is not None and here is not None and there != here:
        raise ConfigError(
            f"data: {checkpoint} was made with other shards, filters or windows, so its place in the epoch means "
            "nothing here; give the same data, or start a new run from its weights with init_from="
        )
    return used


def rule_of(key: str) -> Rule:
    """The rule for a dotted key of the config."""
    return next(rule for rule in RULES if fnmatchcase(key, rule.keys))


def changes(before: Mapping[str, Any], after: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted keys whose values differ, with both values; not those that say where a run is or how it is started."""
    for key in dict.fromkeys([*before, *after]):
        if not where and key in ("run", "resume"):
            continue
        # What only one of them has comes with a newer version, or with another optimiser, which is named itself.
        if key not in before or key not in after:
            continue
        old, new = before[key], after[key]
        if isinstance(old, Mapping) and isinstance(new, Mapping) and key != "where":
            yield from changes(old, new, f"{where}{key}.")
        elif old != new:
            yield f"{where}{key}", old, new


def state_of(checkpoint: Path) -> dict[str, Any]:
    """What Lightning keeps in a checkpoint of this project. Raises ConfigError for one of something else."""
    state = read_state(checkpoint)
    if not isinstance(state, Mapping) or "next_row" not in state.get("callbacks", {}).get("Checkpoints", {}):
        raise ConfigError(
            f"{checkpoint} is no checkpoint of a run of this program, from which one could go on; weights alone are "
            "taken with init_from="
        )
    return dict(state)


def _unlike(checkpoint: Path, state: Mapping[str, Any], stage: Stage) -> list[str]:
    """Names of trained weights with their shapes where checkpoint and stage differ."""
    if is_in_pieces(checkpoint):
        there = {name: tuple(shape) for name, shape in Reader(checkpoint).shapes.items()}
    else:
        there = {name: tuple(value.shape) for name, value in state["state_dict"].items()}
    trained = {name: tuple(p.shape) for name, p in stage.named_parameters() if p.requires_grad}
    found = [
        f"{name} is {there.get(name, 'missing')} there and {shape} here"
        for name, shape in trained.items()
        if there.get(name) != shape
    ]
    if not is_in_pieces(checkpoint):
        known = {*stage.state_dict(), *(name for name, _ in stage.named_parameters())}
        passed_over = tuple(f"{name}." for name in frozen_of(stage))  # earlier versions kept some of it
        found += [
            f"{name} {shape} is not in this network"
            for name, shape in there.items()
            if name not in known and not name.startswith(passed_over)
        ]
    return found
