"""Lets a torchvision that was built for CUDA be imported beside a torch without it.

PyPI's torchvision is built for CUDA. Beside a CPU torch its operators cannot be loaded, and importing it fails on the
missing `torchvision::nms`; timm, Lightning, transformers and diffusers import it and fail too. Naming the operators is
enough: models and transforms then work, `torchvision.ops.nms` does not.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_MISSING: Final = ("nms", "qnms")
_named: list[Any] = []


class _NamesOperators(MetaPathFinder):
    """Looks on when torchvision is imported, names its operators where they will be missing, and finds nothing."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "torchvision" and not _named:
            _name_operators(PathFinder.find_spec(name, path))
        return None


def install() -> None:
    """From now on, importing torchvision works beside a CPU torch. Costs nothing until it is imported."""
    if not any(isinstance(finder, _NamesOperators) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NamesOperators())


def _name_operators(torchvision: ModuleSpec | None) -> None:
    if torchvision is None or torchvision.origin is None:
        return
    import torch

    version = Path(torchvision.origin).with_name("version.py")
    if torch.version.cuda is None and version.is_file() and "+cu" in version.read_text():
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in _MISSING:
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _named.append(library)  # the names live as long as the library
