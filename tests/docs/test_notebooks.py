"""The notebooks in docs/ hold what they printed, and their cells run in an empty folder."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def code(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_there_is_one() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_was_run_from_its_first_cell_to_its_last_and_is_small(path: Path) -> None:
    cells = code(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])
    assert path.stat().st_size < 300_000
    for cell in cells:
        ast.parse("".join(cell["source"]))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_cells_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PYTHONSAFEPATH", "PYTHONPATH", "COSPEECH_RUN_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    names: dict[str, Any] = {}
    for cell in code(path):
        exec("".join(cell["source"]), names)
    assert names["poses"].shape[1:] == (134, 3)
    assert (tmp_path / "poses.png").is_file()
