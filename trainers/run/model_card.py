"""The model card of an export (README.md): what the network is, of what data, how good, how to use it, consent."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from huggingface_hub import ModelCard, ModelCardData

from cospeech import __version__
from datamodules.clip import BadSample, ClipInfo, decode
from datamodules.shards.cache import ShardError, ShardFolder
from datamodules.shards.index import Index, IndexFileError, SampleEntry, ShardEntry
from datamodules.shards.members import read_first
from settings import get_logger

CARD: Final = "README.md"
UNKNOWN: Final = "unknown"
_LOOKED_AT: Final = 500  # clips whose licence is read
logger = get_logger(__name__)


class System(NamedTuple):
    """A published system: its name and its paper."""

    name: str
    paper: str


SYSTEMS: Final = {
    "mmgt": System("MMGT", "MMGT: Motion Mask Guided Two-Stage Network for Co-Speech Gesture Video Generation"),
    "implicit_motion": System(
        "Implicit motion", "Mamba-Enhanced Implicit Motion Learning for Audio-Driven Portrait Animation"
    ),
    "chatanyone": System(
        "ChatAnyone",
        "ChatAnyone: Stylized Real-time Portrait Video Generation with Hierarchical Motion Diffusion Model",
    ),
    "versa": System(
        "VersaAnimator", "Versatile Multimodal Controls for Expressive Talking Human Animation (arXiv:2503.08714)"
    ),
}
PURPOSES: Final = {
    "mmgt.smga": "Speech and the first pose of a person to a pose sequence of body, hands and face.",
    "implicit_motion.base": "Moves a picture of a person by motion features that it reads from another video.",
    "chatanyone.renderer": "Moves a picture of the upper body by key points of head and body, and draws its hands in.",
    "chatanyone.face_refine": "Makes the faces of generated frames anew, and blends them back.",
    "implicit_motion.motion": "Speech to the motion features that move a picture of a person.",
    "chatanyone.face_motion": "Speech to expression and pose of a head, as coefficients of a head template.",
    "chatanyone.body_motion": "A head, speech and a picture to what else moves a picture of the upper body, and hands.",
    "versa.tokenizer": "Whole-body motion to motion tokens, and back.",
    "versa.text_motion": "Text to motion tokens of the whole body.",
    "versa.audio_motion": "Text and speech to motion tokens of the whole body.",
    "versa.evaluator": "Measures how well motion and text go together; not for generation.",
    "video.autoencoder": "Frames of video to latents and back, for networks that make video of latents.",
    "human.pose_autoencoder": "The features that FGD and Diversity of poses are taken in; not for generation.",
}


def write_card(network: Any, folder: Path, settings: Mapping[str, Any], run: Path | None = None) -> Path:
    """Write the model card of an export, or write it anew.

    A licence that somebody has put into the card, or given in the run's config, stays; without one it says that it is
    unknown: the weights are their trainer's, and the data has a word in it.

    Args:
        network: what is exported; for its parameters.
        folder: of the export.
        settings: the run's config.
        run: the run folder, whose figures are shown.
    """
    stage = str(settings.get("stage", {}).get("name", UNKNOWN))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    text = "\n".join(
        [
            f"# {(run.resolve().name if run else stage)}",
            *_what(stage, type(network), parameters, settings),
            *_data(settings),
            *_figures(run),
            *_use(type(network), stage),
            *_consent(),
        ]
    )
    card = ModelCard(f"---\n{_metadata(stage, folder).to_yaml()}\n---\n\n{text}")
    path = folder / CARD
    card.save(path)
    return path


def update_figures(folder: Path, run: Path) -> None:
    """Put the figures of a run into the card of its export, where it has one; the rest stays as it is."""
    path = folder / CARD
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    before, mark, rest = text.partition("## Figures\n")
    if not mark:
        logger.warning("%s has no section 'Figures': left as it is", path)
        return
    after = rest.partition("\n## ")
    path.write_text(before + "\n".join(_figures(run)) + after[1] + after[2], encoding="utf-8")


def _metadata(stage: str, folder: Path) -> ModelCardData:
    licence = _given_licence(folder)
    system = stage.partition(".")[0]
    names = ("license", "license_name", "license_link")
    given: dict[str, Any] = {name: licence[name] for name in names if licence.get(name)}
    if not given:
        given = {"license": "other", "license_name": UNKNOWN}
    return ModelCardData(library_name="cospeech", tags=["co-speech", system, stage], **given)


def _given_licence(folder: Path) -> dict[str, Any]:
    """The licence that somebody wrote into the card that stands there."""
    path = folder / CARD
    if not path.is_file():
        return {}
    try:
        found = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict()
    except ValueError:
        return {}
    nobodys = found.get("license") == "other" and found.get("license_name") in (None, UNKNOWN)
    return {} if nobodys else found


def _what(stage: str, network: type, parameters: int, settings: Mapping[str, Any]) -> list[str]:
    system = SYSTEMS.get(stage.partition(".")[0])
    trained = settings.get("trainer", {})
    strategy, ema = settings.get("strategy", {}), settings.get("ema", {})
    lines = [
        PURPOSES.get(stage, ""),
        "",
        f"- stage: `{stage}` (`{network.__module__}.{network.__name__}`), {parameters:,} parameters",
        f"- system: {system.name}, of the paper *{system.paper}*; trained with cospeech {__version__}, not by the "
        "paper's authors"
        if system
        else f"- trained with cospeech {__version__}",
        f"- training: max_steps {trained.get('max_steps', UNKNOWN)}, precision {trained.get('precision', UNKNOWN)}, "
        f"strategy {strategy.get('name', UNKNOWN)}, seed {settings.get('seed', UNKNOWN)}, averaged weights: "
        f"{'yes' if ema.get('enabled') else 'no'}",
        "",
        "The network's own options are in `config.json`. Those of the stage:",
        "",
        "```json",
        json.dumps(settings.get("stage", {}), indent=1, default=str),
        "```",
        "",
    ]
    return lines


def _data(settings: Mapping[str, Any]) -> list[str]:
    shards = settings.get("data", {}).get("shards")
    lines = ["## Data", ""]
    try:
        facts = data_facts(str(shards)) if shards else None
    except (IndexFileError, ShardError, BadSample, OSError) as error:
        logger.warning("the model card says nothing of the data: %s", error)
        facts = None
    if facts is None:
        return [*lines, "Unknown, and so are its licences and consent.", ""]
    for name, value in facts.items():
        lines.append(f"- {name}: {value}")
    return [*lines, ""]


def data_facts(shards: str) -> dict[str, str]:
    """What is known of the clips that were trained on: how many, whose, licence and consent.

    Raises:
        IndexFileError, ShardError: the shards are not there.
    """
    if "://" in shards:
        raise OSError(f"{shards} is not on this machine")  # a card is no reason to fetch shards
    index, folder = Index.load(shards), ShardFolder(shards, None)
    entries = [(shard, sample) for shard in index.shards for sample in shard.samples if sample.split == "train"]
    infos = [_info(folder, *entry) for entry in entries[:: max(1, -(-len(entries) // _LOOKED_AT))]]
    speakers = {sample.speaker for _, sample in entries if sample.speaker}
    hours = sum(sample.frames for _, sample in entries) / index.fps / 3600
    part = "" if len(infos) == len(entries) else f" (of {len(infos)} clips, taken evenly)"
    return {
        "clips": f"{len(entries)} for training, {hours:.2g} hours, {len(speakers) or UNKNOWN} speakers",
        "languages": _counted([info.language for info in infos]) + part,
        "licences": _counted([info.licence for info in infos]) + part,
        "consent of the people shown": _counted([_consented(info.consent) for info in infos]) + part,
    }


def _info(folder: ShardFolder, shard: ShardEntry, sample: SampleEntry) -> ClipInfo:
    with folder.open(shard) as file:
        file.seek(sample.offset)
        return decode("clip.json", read_first(file, sample.id, "clip.json"), sample.id)


def _consented(value: bool | str | None) -> str | None:
    return {True: "given", False: "not given"}.get(value) if isinstance(value, bool) else value


def _counted(values: Sequence[str | None]) -> str:
    counts = Counter(value or UNKNOWN for value in values)
    return ", ".join(f"{name} ({count})" if len(counts) > 1 else name for name, count in counts.most_common())


def _figures(run: Path | None) -> list[str]:
    lines = ["## Figures", ""]
    path = run / "evaluation" / "figures.json" if run else None
    if path is None or not path.is_file():
        return [*lines, "Not measured yet: `python -m trainers.evaluate --run RUN` measures it and fills this in.", ""]
    results = json.loads(path.read_text(encoding="utf-8"))
    figures = results["figures"]
    for split, part in results["splits"].items():
        names = [name for name in figures if any(name in of for of in part["systems"].values())]
        labels = part["labels"]
        lines += [f"**{split}**: {part['clips']} clips, {part['seconds']:.0f} s, {part['speakers']} speakers", ""]
        lines += [f"| figure | {' | '.join(labels.values())} |", f"|---|{'---|' * len(labels)}"]
        for name in names:
            cells = (_cell(part["systems"].get(system, {}).get(name)) for system in labels)
            lines.append(f"| {figures[name]['title']} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def _cell(figure: Mapping[str, Any] | None) -> str:
    if not figure or figure.get("mean") is None:
        return "-"
    spread = figure.get("std")
    return f"{figure['mean']:.3g}" + (f" ± {spread:.1g}" if spread else "")


def _use(network: type, stage: str) -> list[str]:
    from trainers.stages import ANIMATORS

    command = ["```bash", "cospeech animate --run RUN --image me.png --audio speech.wav --out out.mp4", "```", ""]
    return [
        "## Use",
        "",
        "```python",
        f"from {network.__module__} import {network.__name__}",
        "",
        f'network = {network.__name__}.from_pretrained(".").eval()  # this folder, its run, or owner/name on the hub',
        "```",
        "",
        *(command if stage in ANIMATORS else []),
    ]


def _consent() -> list[str]:
    return [
        "## Consent",
        "",
        "Make videos only of people who agreed to it, and say that they are generated; those of `animate` say so in "
        "their metadata. Nobody may use this to deceive, or to put words into the mouth of somebody who did not say "
        "them.",
        "",
        "The licence above holds for these weights. Where it is unknown, ask who trained them; the licences of the "
        "data hold as well.",
        "",
    ]
