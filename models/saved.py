"""Networks that are saved as a folder with `config.json` and `model.safetensors`, and found again."""

from pathlib import Path
from typing import Any, Self

from huggingface_hub import PyTorchModelHubMixin

CONFIG = "config.json"


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
        return super().from_pretrained(_export_of(pretrained_model_name_or_path, cls.__name__), **options)


def _export_of(name: str | Path, what: str) -> str | Path:
    path = Path(name)
    if path.is_dir():
        if (path / CONFIG).is_file():
            return name
        if (path / "export" / CONFIG).is_file():
            return path / "export"
        if (path / "config.yaml").is_file():
            raise FileNotFoundError(
                f"{path} is a run without an export yet: let training end, or take a checkpoint with "
                f"`python -m trainers.export --run {path}`"
            )
        raise FileNotFoundError(
            f"{path} holds no {what}: it is neither a run folder nor an export ({CONFIG} is missing)"
        )
    wanted = "give a run folder, its export/ folder or a hub name (owner/name)"
    if path.exists():
        raise FileNotFoundError(f"{path} is a file; {wanted}")
    if str(name).count("/") != 1 or str(name).startswith((".", "/", "~")):
        raise FileNotFoundError(
            f"no folder at {path}; give a run folder, its export/ folder or a hub name (owner/name)"
        )
    return name
