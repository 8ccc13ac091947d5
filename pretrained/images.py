"""Image encoders that others trained, through transformers: CLIP's vision half."""

import json
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
    from transformers.utils import logging

    if torch.get_default_device().type == "meta":
        sizes: dict[str, Any] = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
        sizes |= {"num_attention_heads": 16, "patch_size": 14, "projection_dim": 768}
        return freeze(ImageEncoder(CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes)))), ""
    name = _name(option, where)
    load: Any = CLIPVisionModelWithProjection.from_pretrained  # its types know nothing of the loading info
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # a whole CLIP has a half that is not used
    try:
        kind = _kind(name)
        if kind not in KINDS:
            raise ConfigError(f"{option}={where} is a {kind}, not the vision half of a CLIP; {WHERE}")
        network, loading_info = load(name, output_loading_info=True, torch_dtype=torch.float32)
    except ConfigError:
        raise
    except Exception as error:  # what damaged and missing files raise is of many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{option}={where} cannot be loaded ({reason}); {WHERE}") from None
    finally:
        logging.set_verbosity(before)
    wrong = [*loading_info["missing_keys"], *loading_info["mismatched_keys"]]
    if wrong:
        raise ConfigError(f"{option}={where} is another network: {sorted(map(str, wrong))[0]} is missing or differs")
    return freeze(ImageEncoder(network, *_normalisation(name))), tensors_hash(network)


def _name(option: str, where: str) -> str:
    path = Path(where).expanduser()
    if not path.is_dir():
        if path.exists() or only_a_path(where):
            raise ConfigError(f"{option}={where}: no such folder; {WHERE}")
        return where
    for folder in (path / inside for inside in INSIDE):
        if (folder / "config.json").is_file():
            return str(folder)
    raise ConfigError(f"{option}={where}: no config.json there; {WHERE}")


def _kind(name: str) -> str:
    from transformers import AutoConfig

    return str(AutoConfig.from_pretrained(name).model_type)


def _normalisation(name: str) -> tuple[list[float], list[float]]:
    """Mean and deviation that a folder's own preprocessor says; OpenAI's where it has none."""
    file = Path(name) / "preprocessor_config.json"
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return list(values.get("image_mean", MEAN)), list(values.get("image_std", STD))
