"""The model card of an export: valid metadata, what it is, its data and licences, figures, use, consent."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from models.mmgt.smga import SMGA
from tests.shards import write_shards
from tests.trainers.runs import toy_run
from trainers.run.exports import find_export, write_export
from trainers.run.model_card import update_figures

LICENCES = ["CC-BY-4.0", "CC-BY-4.0", None]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with an untrained network and the shards it would have been trained on."""
    info = {"licence": lambda n: LICENCES[n % 3], "consent": lambda n: n != 1}
    write_shards(tmp_path / "shards", clips=3, seconds=1.0, info=lambda n: {name: of(n) for name, of in info.items()})
    folder = tmp_path / "my-run"
    network = SMGA(width=16, layers=1, heads=2, feedforward=32, audio_layers=1)
    settings: dict[str, Any] = {
        "stage": {"name": "mmgt.smga", "width": 16}, "seed": 7, "trainer": {"max_steps": 5, "precision": "32-true"},
        "data": {"name": "clips", "shards": str(tmp_path / "shards")},
    }  # fmt: skip
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    write_export(network, folder / "export", settings, folder)
    return folder


def text(run: Path) -> str:
    return (run / "export" / "README.md").read_text()


def figures(run: Path, value: float) -> None:
    folder = run / "evaluation"
    folder.mkdir(exist_ok=True)
    part = {
        "clips": 3, "seconds": 3.0, "speakers": 2, "labels": {"model": "this network", "truth": "truth"},
        "systems": {"model": {"fgd": {"mean": value, "std": 0.25}}, "truth": {"fgd": {"mean": 0.0, "std": 0.0}}},
    }  # fmt: skip
    results = {"figures": {"fgd": {"title": "FGD"}}, "splits": {"test": part}}
    (folder / "figures.json").write_text(json.dumps(results))


def test_the_metadata_is_the_hubs_and_the_licence_nobodys(run: Path) -> None:
    data = ModelCard.load(run / "export" / "README.md").data
    assert (data.license, data.license_name) == ("other", "unknown")
    assert data.library_name == "cospeech"
    assert data.tags == ["co-speech", "mmgt", "mmgt.smga"]


def test_it_says_what_it_is(run: Path) -> None:
    count = sum(p.numel() for p in SMGA.from_pretrained(run).parameters())
    for words in (f"{count:,} parameters", "Motion Mask Guided Two-Stage Network", "max_steps 5", "## Consent"):
        assert words in text(run)
    assert "Not measured yet" in text(run)


def test_it_says_of_what_data_and_under_which_licences(run: Path) -> None:
    assert "3 for training" in text(run)
    assert "licences: CC-BY-4.0 (2), unknown (1)" in text(run)
    assert "consent of the people shown: given (2), not given (1)" in text(run)


def test_without_shards_the_data_is_unknown(tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run")
    assert "Unknown, and so are its licences and consent." in text(run)


def test_how_to_use_it_can_be_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snippet = text(run).partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(run / "export")
    names: dict[str, Any] = {}
    exec(snippet, names)
    assert isinstance(names["network"], SMGA)


def test_evaluation_puts_its_figures_in_and_takes_the_old_ones_out(run: Path) -> None:
    before = text(run)
    figures(run, 3.5)
    update_figures(run / "export", run)
    assert "| FGD | 3.5 ± 0.2 | 0 |" in text(run)
    figures(run, 4.5)
    update_figures(run / "export", run)
    assert "| FGD | 4.5 ± 0.2 | 0 |" in text(run)
    assert "3.5 ±" not in text(run)
    assert text(run).partition("## Use")[2] == before.partition("## Use")[2]


def test_a_licence_that_somebody_gave_stays(run: Path) -> None:
    card = run / "export" / "README.md"
    card.write_text(text(run).replace("license: other\nlicense_name: unknown\n", "license: cc-by-nc-4.0\n"))
    settings = yaml.safe_load((run / "config.yaml").read_text())
    write_export(SMGA.from_pretrained(run), run / "export", settings, run)
    data = ModelCard.load(card).data
    assert (data.license, data.license_name) == ("cc-by-nc-4.0", None)


def test_the_tag_still_tells_the_stage_of_a_network_that_came_alone(run: Path, tmp_path: Path) -> None:
    alone = (run / "export").rename(tmp_path / "alone")
    assert find_export(alone).stage == "mmgt.smga"
