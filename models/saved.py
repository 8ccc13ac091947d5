"""Networks that are saved as a folder with `config.json` and `model.safetensors`, and found again."""

from pathlib import Path
from typing import Any, Final, Self

from huggingface_hub import PyTorchModelHubMixin

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
_WANTED: Final = "give a run folder, its export/ folder or a hub name (owner/name)"


class SavedNetwork(PyTorchModelHubMixin):
    """As huggingface_hub's own, and `from_pretrained` takes a run folder as well as what lies in its export/."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """The trained network of a run folder, an export folder, or a hub name like owner/name.

        Args:
            pretrained_model_name_or_path: where it is.
            options: as huggingface_hub's own `from_pretrained` takes them.

        Raises:
            FileNotFoundError: nothing there; says what is.
        """
        folder = folder_of(pretrained_model_name_or_path)
        return super().from_pretrained(folder or pretrained_model_name_or_path, **options)


def folder_of(name: str | Path) -> Path | None:
    """The folder that holds `config.json` and `model.safetensors`; None for what can only be a hub name.

    Args:
        name: a run folder, an export folder, or a hub name like owner/name.

    Raises:
        FileNotFoundError: a path at which no network is; says what is there instead.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        for folder in (path, path / "export"):
            if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
                return folder
        if (path / "config.yaml").is_file():
            raise FileNotFoundError(
                f"{path} has no export yet ({path / 'export' / WEIGHTS} is missing): let training end, or take a "
                f"checkpoint with `python -m trainers.export --run {path}`"
            )
        raise FileNotFoundError(
            f"{path} is neither a run folder nor an export: it has no export/ and no {CONFIG} with {WEIGHTS}"
        )
    if path.exists():
        raise FileNotFoundError(f"{path} is a file; {_WANTED}")
    if only_a_path(name) or str(name).count("/") != 1:
        raise FileNotFoundError(f"{path}: no such folder; {_WANTED}")
    return None


def only_a_path(name: str | Path) -> bool:
    """Whether a name can be none on the hub, which would answer with a message about names of repositories."""
    return str(name).startswith((".", "/", "~"))
