"""Autoencoders of latent diffusion, as they are published, as diffusers saves them and as our own runs do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from models.saved import WEIGHTS as OURS
from models.saved import only_a_path
from pretrained.frozen import freeze
from pretrained.hub import HubError, snapshot
from settings import ConfigError
from settings.hashes import file_hash

CONFIG: Final = "config.json"
KINDS: Final = ("AutoencoderKL", "AutoencoderKLTemporalDecoder")
"""Classes of diffusers: Stable Diffusion's, and that of Stable Video Diffusion, whose decoder mixes frames."""
WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
STABLE_DIFFUSION: Final[dict[str, Any]] = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "norm_num_groups": 32, "sample_size": 256,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
"""Sizes of the published one of Stable Diffusion 1.5 (stabilityai/sd-vae-ft-mse)."""
_INSIDE: Final = ("", "vae", "export")
"""Where in a folder it stands: in it, in a pipeline's, in a run's."""
_GET: Final = (
    "one is made by the stage video.autoencoder; a published one is fetched, where there is a network, by "
    "`hf download stabilityai/sd-vae-ft-mse --local-dir FOLDER`"
)


def load_autoencoder(option: str, where: str, kinds: Sequence[str] = KINDS) -> tuple[Any, str]:
    """A diffusers autoencoder (whose own types are not known to be modules), frozen, and the SHA-256 of its weights.

    It is an AutoencoderKL, or SVD's AutoencoderKLTemporalDecoder, in full precision. On the meta device no weights are
    read and nothing is fetched; sizes are those of the folder, else Stable Diffusion's.

    Args:
        option: name of the option that says where it is, for messages.
        where: the folder that it is saved in, a pipeline's with `vae/`, a run's of video.autoencoder with `export/`, or
            a hub name of one of these.
        kinds: classes of diffusers that will do.

    Raises:
        ConfigError: none there, another network, or one that is damaged.
    """
    if torch.get_default_device().type == "meta":
        return freeze(_meta(Path(where).expanduser())), ""
    folder, weights = _find(option, where)
    if (kind := _kind(folder)) not in kinds:
        raise ConfigError(f"{option}={where}: an {' or '.join(kinds)} is needed; {folder / CONFIG} is of {kind}")
    from diffusers.utils import logging
    from safetensors import SafetensorError

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns of what is an error here
    try:
        network, wrong = (_read_ours if weights == OURS else _read)(folder)
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{option}={where}: {folder / weights} cannot be read ({reason})") from None
    finally:
        logging.set_verbosity(before)
    if wrong:
        raise ConfigError(f"{option}={where}: {folder / weights} does not fit its {CONFIG}: {wrong[0]} differs")
    return freeze(network), file_hash(folder / weights)


def _read(folder: Path) -> tuple[Any, list[str]]:
    """The network that diffusers saved, and the tensors that do not fit it."""
    network, loading_info = _class(folder).from_pretrained(
        folder, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
    )
    return network, [*loading_info["missing_keys"], *loading_info["unexpected_keys"], *loading_info["mismatched_keys"]]


def _read_ours(folder: Path) -> tuple[Any, list[str]]:
    """The same of a run's export (`models.video.autoencoder`), whose file is called as all of ours are."""
    from safetensors.torch import load_file

    network = _class(folder).from_config(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    state, own = load_file(folder / OURS), network.state_dict()
    wrong = [name for name in {**own, **state} if name not in own or name not in state]
    wrong += [name for name in own if name in state and state[name].shape != own[name].shape]
    if not wrong:
        network.load_state_dict(state)
    return network, wrong


def _meta(path: Path) -> Any:
    from diffusers import AutoencoderKL

    for folder in (path / inside for inside in _INSIDE):
        if _kind(folder) in KINDS:
            return _class(folder).from_config(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    return AutoencoderKL(**STABLE_DIFFUSION)


def _class(folder: Path) -> Any:
    import diffusers

    return getattr(diffusers, _kind(folder))


def _kind(folder: Path) -> str:
    try:
        return str(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        return "no network of diffusers"


def _find(option: str, where: str) -> tuple[Path, str]:
    """The folder that holds it, and the name of its file of weights."""
    path = Path(where).expanduser()
    if not path.is_dir():
        if path.exists() or only_a_path(where) or where.count("/") != 1:
            raise ConfigError(f"{option}={where}: no such folder; give that of an AutoencoderKL, or a hub name; {_GET}")
        names = (CONFIG, WEIGHTS, OURS)
        try:
            # Of a pipeline its autoencoder alone.
            path = snapshot(where, [f"{folder}/{name}".lstrip("/") for folder in _INSIDE for name in names])
        except HubError as error:
            raise ConfigError(
                f"{option}={where}: no such folder here, and the hub does not give it ({error}); {_GET}"
            ) from None
    for folder in (path / inside for inside in _INSIDE):
        for weights in (WEIGHTS, OURS):
            if (folder / CONFIG).is_file() and (folder / weights).is_file():
                return folder, weights
    if (path / "config.yaml").is_file():
        raise ConfigError(
            f"{option}={where}: the run has no export yet; let training end, or take a checkpoint with "
            f"`python -m trainers.export --run {where}`"
        )
    raise ConfigError(f"{option}={where}: no saved AutoencoderKL there, which is {CONFIG} with {WEIGHTS} or {OURS}")
