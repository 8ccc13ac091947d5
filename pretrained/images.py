"""Image encoders that others trained, through transformers: CLIP's vision half."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from models.saved import only_a_path
from models.video.images import MEAN, STD, ImageEncoder
from pretrained.frozen import freeze
from pretrained.hashes import tensors_hash
from settings import ConfigError

KINDS: Final = ("clip_vision_model", "clip")
INSIDE: Final = ("", "image_encoder")
"""Where in a folder it stands: in it, or in a pipeline's."""
WHERE: Final = (
    "give a folder with config.json and model.safetensors, or a hub name such as openai/clip-vit-large-patch14; with "
    "no network, fetch it elsewhere with `hf download NAME --local-dir FOLDER` and give FOLDER"
)


def load_image_encoder(option: str, where: str) -> tuple[ImageEncoder, str]:
    """A CLIP vision network with its projection, frozen, in full precision, and the SHA-256 of its tensors.

    On the meta device no file is read: ViT-L/14, whose embeddings have 768 numbers.

    Args:
        option: name of the option that says where it is, for messages.
        where: its folder, that of a whole CLIP, a pipeline's with `image_encoder/`, or a hub name of one of the first
            two.

    Raises:
        ConfigError: none there, another network, or one that is damaged.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    if torch.get_default_device().type == "meta":
        sizes: dict[str, Any] = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
        sizes |= {"num_attention_heads": 16, "patch_size": 14, "projection_dim": 768}
        return freeze(ImageEncoder(CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes)))), ""
    name = folder_or_name(option, where, WHERE, INSIDE)
    # A whole CLIP has a half that is not used.
    network = read_network(
        CLIPVisionModelWithProjection.from_pretrained, option, where, name, WHERE, (KINDS, "the vision half of a CLIP")
    )
    return freeze(ImageEncoder(network, *normalisation(name, MEAN, STD))), tensors_hash(network)


def read_network(
    load: Any, option: str, where: str, name: str, advice: str, kinds: tuple[tuple[str, ...], str] | None = None
) -> Any:
    """A network of transformers with all of its own tensors; others beside them do not matter.

    Args:
        load: `from_pretrained` of its class, whose types know nothing of the loading info.
        option, where: that asked for it, for messages.
        name: folder or hub name.
        advice: what to give in its place.
        kinds: model types that will do, and what they are.

    Raises:
        ConfigError: another network, or a damaged one.
    """
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        kind = _kind(name) if kinds is not None else ""
        if kinds is not None and kind not in kinds[0]:
            raise ConfigError(f"{option}={where} is a {kind}, not {kinds[1]}; {advice}")
        network, loading_info = load(name, output_loading_info=True, torch_dtype=torch.float32)
    except ConfigError:
        raise
    except Exception as error:  # what damaged and missing files raise is of many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{option}={where} cannot be loaded ({reason}); {advice}") from None
    finally:
        logging.set_verbosity(before)
    wrong = [*loading_info["missing_keys"], *loading_info["mismatched_keys"]]
    if wrong:
        raise ConfigError(f"{option}={where} is another network: {sorted(map(str, wrong))[0]} is missing or differs")
    return network


def folder_or_name(option: str, where: str, advice: str, inside: Sequence[str] = ("",)) -> str:
    """The folder with config.json, of a place or of those inside of it, or a hub name.

    Raises:
        ConfigError: a path without one; says what to give.
    """
    path = Path(where).expanduser()
    if not path.is_dir():
        if path.exists() or only_a_path(where):
            raise ConfigError(f"{option}={where}: no such folder; {advice}")
        return where
    for folder in (path / each for each in inside):
        if (folder / "config.json").is_file():
            return str(folder)
    raise ConfigError(f"{option}={where}: no config.json there; {advice}")


def _kind(name: str) -> str:
    from transformers import AutoConfig

    return str(AutoConfig.from_pretrained(name).model_type)


def normalisation(name: str, mean: Sequence[float], std: Sequence[float]) -> tuple[list[float], list[float]]:
    """Mean and deviation of colours that a folder's own preprocessor says; those given where it has none."""
    file = Path(name) / "preprocessor_config.json"
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return list(values.get("image_mean", mean)), list(values.get("image_std", std))
