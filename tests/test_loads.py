"""Files of others run no code: every place that reads a PyTorch file refuses what is more than tensors and values."""

import ast
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pretrained.inception import INCEPTION
from pretrained.weights import read_state
from settings import ConfigError
from settings.scalars import read_yaml
from trainers.engines.pieces import load
from trainers.run.errors import CheckpointError

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "settings",
    "reports",
    "models",
    "datamodules",
    "pretrained",
    "preprocessing",
    "metrics",
    "trainers",
    "benchmarks",
    "slurm",
)
LOADERS: dict[str, tuple[Callable[[Path], Any], type[Exception]]] = {
    "pretrained/weights.py:_read": (lambda path: read_state(path, INCEPTION), ConfigError),
    "trainers/engines/pieces.py:load": (load, CheckpointError),
}
"""Every function that calls `torch.load`, how it is called here, and what it says of a file that it refuses."""
CODE = {"pretrained/i3d.py:__init__": "torch.jit.load"}
"""What is code by its nature: TorchScript, as docs/metrics.md says."""
NEVER = (
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "joblib.load",
    "yaml.unsafe_load",
    "torch.hub.load",
)


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Place (file:function), dotted name and node of every call in the project."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            for function in ast.walk(tree):
                if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Module)):
                    name = getattr(function, "name", "module")
                    for node in own_nodes(function):
                        if isinstance(node, ast.Call):
                            yield f"{path.relative_to(ROOT)}:{name}", ast.unparse(node.func), node


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """What stands in a function and not in one inside it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
            yield from own_nodes(child)


def constant(node: ast.Call, keyword: str) -> Any:
    found = [one.value for one in node.keywords if one.arg == keyword]
    return found[0].value if found and isinstance(found[0], ast.Constant) else None


def test_every_file_of_pytorch_is_read_by_a_loader_that_is_tried_here():
    found = [(place, name, node) for place, name, node in calls() if name in ("torch.load", "torch.jit.load")]
    assert {place for place, name, _ in found if name == "torch.load"} == set(LOADERS)
    assert {place: name for place, name, _ in found if name != "torch.load"} == CODE
    for place, name, node in found:
        if name == "torch.load":
            assert constant(node, "weights_only") is True, f"{place} must say weights_only=True"


def test_nothing_else_reads_objects():
    for place, name, node in calls():
        if name == "yaml.load":
            assert place == "settings/scalars.py:read_yaml", f"{place} calls {name}: use settings.scalars.read_yaml"
        assert name not in NEVER, f"{place} calls {name}"
        if name.endswith(("np.load", "numpy.load")):
            assert constant(node, "allow_pickle") in (False, None), f"{place} unpickles arrays"


def test_a_config_makes_no_objects(tmp_path):
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        read_yaml(
            f"a: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{tmp_path}/ran']]"
        )
    assert not (tmp_path / "ran").exists()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["zip", "old", "pickle"])
@pytest.mark.parametrize("loader", LOADERS)
def test_a_file_with_code_in_it_is_refused_and_runs_nothing(loader, kind, tmp_path):
    read, error = LOADERS[loader]
    path, state = tmp_path / "weights.pth", {"weight": torch.zeros(2), "more": Bomb(tmp_path / "ran")}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(state["more"]))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(error):
        read(path)
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False) if kind != "pickle" else pickle.loads(path.read_bytes())
    assert (tmp_path / "ran").exists(), "the file does hold code"
