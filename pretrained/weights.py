"""Files of weights that others published: where they come from, which of them is there, and what it holds."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from models.saved import only_a_path
from pretrained.hub import HubError, download
from settings import ConfigError
from settings.hashes import file_hash

_ENDINGS: Final = (".safetensors", ".pth", ".pt", ".bin", ".onnx", ".model")


@dataclass(frozen=True)
class Published:
    """A file of weights that others published.

    Attributes:
        what: the network.
        names: what the file is called; the first is the usual one.
        sha256: of the file; empty where several will do.
        where: how to get it.
    """

    what: str
    names: tuple[str, ...]
    sha256: str
    where: str


@dataclass(frozen=True)
class WeightsSource:
    """Which network it is, by its file of weights.

    Attributes:
        what: the network.
        file: name of the file of weights, empty for a network that came without one.
        sha256: of the file, empty without one.
        standard: these are the published weights.
    """

    what: str
    file: str = ""
    sha256: str = ""
    standard: bool = False

    def __str__(self) -> str:
        file = f", {self.file} sha256 {self.sha256[:8]}" if self.file else ""
        return f"{self.what}{file}" + ("" if self.standard else " (other weights)")


def find_file(weights: str | Path, *known: Published) -> tuple[Path, WeightsSource]:
    """The file of weights, and whether it is one of the published ones.

    Args:
        weights: the file, a folder that holds it under its published name, or a hub name: `owner/name` or
            `owner/name/path/in/it`.
        known: the published files, by preference.

    Raises:
        ConfigError: no such file; says which is meant and where to get it.
    """
    path = locate(weights, *known)
    sha256 = file_hash(path)
    match = next((published for published in known if published.sha256 == sha256), None)
    return path, WeightsSource((match or known[0]).what, path.name, sha256, match is not None)


def read_state(path: Path, *known: Published, inside: str | None = None) -> Mapping[str, Tensor]:
    """The named tensors of a PyTorch or safetensors file, on the CPU, without running any code from it.

    Args:
        path: the file.
        known: the published files, for the error's advice.
        inside: the key they stand under, in a file that holds more than one network.

    Raises:
        ConfigError: a damaged file, or one that holds something else.
    """
    try:
        state = _read(path)
    except Exception as error:  # what a damaged file raises is of any kind
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"{path} is no file of weights, or cut short ({reason[0]}); {advice(known)}") from None
    if inside is not None and isinstance(state, Mapping):
        if inside not in state:
            raise ConfigError(f"{path} has nothing under '{inside}'; {advice(known)}")
        state = state[inside]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"{path} holds no named tensors; {advice(known)}")
    return state


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    # What is not used is not loaded: most of a file may be another network, or a classifier.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def load_state(network: nn.Module, state: Mapping[str, Tensor], path: Path, *known: Published) -> None:
    """Put named tensors into a network, all of them.

    Raises:
        ConfigError: the file is of another network; names what differs.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise another_network(error, path, *known) from None


def another_network(error: RuntimeError, path: Path, *known: Published) -> ConfigError:
    """What to tell when PyTorch says that a file's tensors do not fit; names the first that does not."""
    lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
    return ConfigError(f"{path} is of another network ({lines[0][:200]}); {advice(known)}")


def advice(known: tuple[Published, ...]) -> str:
    """What file is meant and where to get it, for an error message."""
    return "; or ".join(f"{published.what} is {published.names[0]}: {published.where}" for published in known)


def locate(weights: str | Path, *known: Published) -> Path:
    """The file of weights, likewise, whatever is in it."""
    weights = str(weights)
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        inside = (path / name for published in known for name in published.names)
        found = next((file for file in inside if file.is_file()), None)
        if found is None:
            raise ConfigError(f"{path} holds no file of weights; {advice(known)}")
        return found
    parts = weights.split("/")
    if only_a_path(weights) or len(parts) < 2 or (len(parts) == 2 and path.suffix in _ENDINGS):
        raise ConfigError(f"{weights}: no such file; {advice(known)}")
    try:
        return download("/".join(parts[:2]), "/".join(parts[2:]) or known[0].names[0])
    except HubError as error:
        raise ConfigError(f"{weights}: no such file, and the hub does not give it ({error}); {advice(known)}") from None
