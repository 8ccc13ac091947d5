"""Autoencoders of latent diffusion, as they are published and as diffusers saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.saved import only_a_path
from pretrained.frozen import freeze
from pretrained.hub import HubError, snapshot
from settings import ConfigError
from settings.hashes import file_hash

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

CONFIG: Final = "config.json"
WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
_INSIDE: Final = ("", "vae", "export")
"""Where in a folder it stands: in it, in a pipeline's, in a run's."""


def load_autoencoder(option: str, where: str) -> tuple[AutoencoderKL, str]:
    """A diffusers AutoencoderKL, frozen, in full precision, and the SHA-256 of its weights.

    Args:
        option: name of the option that says where it is, for messages.
        where: the folder that it is saved in, a pipeline's with `vae/`, a run's with `export/`, or a hub name of one
            of these.

    Raises:
        ConfigError: none there, another network, or one that is damaged.
    """
    folder = _find(option, where)
    try:
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = "no network of diffusers"
    if kind != "AutoencoderKL":
        raise ConfigError(f"{option}={where}: an AutoencoderKL is needed; {folder / CONFIG} is of {kind}")
    from diffusers import AutoencoderKL
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns of what is an error here
    try:
        network, said = AutoencoderKL.from_pretrained(
            folder, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{option}={where}: {folder / WEIGHTS} cannot be read ({reason})") from None
    finally:
        logging.set_verbosity(before)
    wrong = [*said["missing_keys"], *said["unexpected_keys"], *said["mismatched_keys"]]
    if wrong:
        raise ConfigError(f"{option}={where}: {folder / WEIGHTS} does not fit its {CONFIG}: {wrong[0]} differs")
    return freeze(network), file_hash(folder / WEIGHTS)


def _find(option: str, where: str) -> Path:
    path = Path(where).expanduser()
    if not path.is_dir():
        if path.exists() or only_a_path(where) or where.count("/") != 1:
            raise ConfigError(f"{option}={where}: no such folder; give that of an AutoencoderKL, or a hub name")
        try:
            # Of a pipeline its autoencoder alone.
            path = snapshot(where, [f"{folder}/{name}".lstrip("/") for folder in _INSIDE for name in (CONFIG, WEIGHTS)])
        except HubError as error:
            raise ConfigError(
                f"{option}={where}: no such folder here, and the hub does not give it ({error})"
            ) from None
    for folder in (path / inside for inside in _INSIDE):
        if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            return folder
    raise ConfigError(f"{option}={where}: no saved AutoencoderKL there, which is {CONFIG} with {WEIGHTS}")
