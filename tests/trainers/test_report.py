"""The report of a run."""

import json
from pathlib import Path

import pytest

from tests.trainers.runs import toy_run
from trainers.report import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_run(
        tmp_path_factory.mktemp("report") / "run",
        trainer={"check_val_every_n_epoch": None},
        samples={"count": 1, "height": 64},
    )


def test_report_stands_alone_and_holds_everything(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    for text in ("Loss", "Learning rate", "Samples a second", "weight_decay: 0.02", "torch: ", "val/loss, lowest"):
        assert text in page
    assert page.count("data:video/mp4;base64,") == 2
    assert page.count("data:image/svg+xml;base64,") >= 5
    # Nothing is fetched from anywhere.
    assert 'src="http' not in page
    assert "<script src" not in page
    assert '<link rel="stylesheet"' not in page


def test_report_command_adds_the_evaluation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "results.json").write_text(json.dumps([{"method": "ours", "FGD": 1.25}]))
    (folder / "evaluation" / "broken.json").write_text("{")
    assert main([str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert "Evaluation: results" in page
    assert "1.25" in page


def test_report_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "no run folder" in capsys.readouterr().err
