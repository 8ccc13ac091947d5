"""Networks that figures stand on: where their files come from, and saying which of them made a figure."""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from settings import ConfigError


@dataclass(frozen=True)
class Published:
    """A file of weights that a figure is defined with.

    Attributes:
        what: the network.
        names: what the file is called; the first is the usual one.
        sha256: of the file.
        where: how to get it.
    """

    what: str
    names: tuple[str, ...]
    sha256: str
    where: str


@dataclass(frozen=True)
class WeightsSource:
    """Which network made a figure.

    Attributes:
        what: the network.
        file: name of the file of weights, empty for a network that came without one.
        sha256: of the file, empty without one.
        standard: these are the weights that the figure is defined with.
    """

    what: str
    file: str = ""
    sha256: str = ""
    standard: bool = False

    def __str__(self) -> str:
        file = f", {self.file} sha256 {self.sha256[:8]}" if self.file else ""
        return f"{self.what}{file}" + ("" if self.standard else " (other weights)")


class Sourced:
    """A figure that depends on a network: `source` says on which, `label` what the figure may be called.

    Figures from other weights are on another scale, so they carry another name.
    """

    figure: str
    source: WeightsSource

    @property
    def label(self) -> str:
        """The figure's name in a table: "FID", or "FID (other weights)"."""
        return self.figure if self.source.standard else f"{self.figure} (other weights)"


def source_of(network: Any) -> WeightsSource:
    """Where a network's weights come from; a network that does not say so has no standard weights."""
    return getattr(network, "source", WeightsSource(type(network).__name__))


def find(weights: str | Path, *known: Published) -> tuple[Path, WeightsSource]:
    """The file of weights, and whether it is one of the published ones.

    Args:
        weights: the file, a folder that holds it under its published name, or a hub name: `owner/name` or
            `owner/name/path/in/it`.
        known: the published files, by preference.

    Raises:
        ConfigError: no such file; says which is meant and where to get it.
    """
    path = _fetch(str(weights), known)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    match = next((published for published in known if published.sha256 == sha256), None)
    return path, WeightsSource((match or known[0]).what, path.name, sha256, match is not None)


def read_state(path: Path, *known: Published, inside: str | None = None) -> Mapping[str, Tensor]:
    """The named tensors of a PyTorch file, without running any code from it.

    Args:
        path: the file.
        known: the published files, for the error's advice.
        inside: the key they stand under, in a file that holds more than one network.

    Raises:
        ConfigError: a damaged file, or one that holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"{path} is no file of weights ({reason[0]}); {advice(known)}") from None
    if inside is not None and isinstance(state, Mapping):
        if inside not in state:
            raise ConfigError(f"{path} has nothing under '{inside}'; {advice(known)}")
        state = state[inside]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"{path} holds no named tensors; {advice(known)}")
    return state


def load(network: nn.Module, state: Mapping[str, Tensor], path: Path, *known: Published) -> None:
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


def frozen(network: nn.Module, source: WeightsSource) -> nn.Module:
    """A network ready to measure with: evaluation mode, no gradients, and it knows where it comes from."""
    network.eval().requires_grad_(False)
    network.source = source  # type: ignore[assignment]
    return network


def advice(known: tuple[Published, ...]) -> str:
    """What file is meant and where to get it, for an error message."""
    return "; or ".join(f"{published.what} is {published.names[0]}: {published.where}" for published in known)


def _fetch(weights: str, known: tuple[Published, ...]) -> Path:
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        inside = (path / name for published in known for name in published.names)
        found = next((file for file in inside if file.is_file()), None)
        if found is None:
            raise ConfigError(f"{path} holds no file of weights; {advice(known)}")
        return found
    if weights.startswith((".", "/", "~")) or weights.count("/") < 1:
        raise ConfigError(f"{weights}: no such file; {advice(known)}")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    owner, name, *inside_hub = weights.split("/")
    try:
        return Path(hf_hub_download(f"{owner}/{name}", "/".join(inside_hub) or known[0].names[0]))
    # The hub's errors for "offline", "no such file" and "no network" are OSErrors or HTTP errors.
    except (OSError, HfHubHTTPError, HFValidationError, ValueError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"{weights}: no such file, and the hub does not give it ({reason[0]}); {advice(known)}"
        ) from None
