"""The report of a run."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.trainers.runs import toy_run
from trainers.report import main
from trainers.run.steps import last_step, steps_done
from trainers.tracking.columns import readable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_run(
        tmp_path_factory.mktemp("report") / "run",
        trainer={"check_val_every_n_epoch": None},
        samples={"count": 1, "height": 64},
    )


def test_report_stands_alone_and_holds_everything(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    for text in (
        "Loss",
        "Learning rate",
        "samples a second",
        "weight_decay: 0.02",
        "torch: ",
        "Loss, validation, lowest",
        "Steps (batches)",
    ):
        assert text in page
    assert page.count("data:video/mp4;base64,") == 2
    assert page.count("<svg") >= 5
    assert "step (batches)" in page
    assert "train/lr" not in page
    assert "/lr_" not in page
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


def test_videos_that_lie_in_the_run_folder_are_shown(folder: Path) -> None:
    sample = next((folder / "samples").glob("*.mp4"))
    (folder / "animations").mkdir()
    for name in ("generated.mp4", "generated.lips.mp4", "animations/hello.mp4"):
        (folder / name).write_bytes(sample.read_bytes())
    assert main([str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert page.count("data:video/mp4;base64,") == 5
    assert "<strong>generated</strong>" in page
    assert "motion mask: lips" in page
    assert "animations/hello.mp4" in page


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("train/lr", "Learning rate"),
        ("train/lr_1", "Learning rate, optimiser 2"),
        ("train/grad_norm_1", "Gradient norm, optimiser 2"),
        ("val/loss", "Loss, validation"),
        ("train/loss_face", "Loss face, training"),
        ("speed/memory_gb", "Peak memory"),
    ],
)
def test_columns_have_names_that_people_read(column: str, name: str) -> None:
    assert readable(column) == name


def test_steps_are_counted_alike_also_with_two_optimisers(folder: Path, tmp_path: Path) -> None:
    """300 batches are step 300 everywhere, also where names are of an older run and count both optimisers."""
    for part in ("checkpoints", "samples"):
        (tmp_path / part).mkdir()
    (tmp_path / "config.yaml").write_text("stage: {name: toy}\n")
    (tmp_path / "metrics.csv").write_text("step,epoch,train/loss,train/lr,train/lr_1\n299,0,1.0,0.1,0.1\n")
    (tmp_path / "checkpoints" / "step-00000600.ckpt").write_bytes(b"")
    (tmp_path / "samples" / "step-00000600_a.mp4").write_bytes(next((folder / "samples").glob("*.mp4")).read_bytes())
    assert main([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "step-00000600.ckpt (step 300)" in page
    assert "<strong>Step 300</strong>" in page
    assert "600: 2 a batch, as trainer.max_steps counts them" in page
    for path in (*tmp_path.glob("checkpoints/*.ckpt"), *tmp_path.glob("samples/*.mp4")):
        path.rename(path.with_name(path.name.replace("600", "300")))
    assert main([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "step-00000300.ckpt<" in page
    assert "<strong>Step 300</strong>" in page
    trainer = SimpleNamespace(global_step=600, max_steps=1200, optimizers=[None, None])
    assert steps_done(trainer) == 300  # type: ignore[arg-type]
    assert last_step(trainer) == 600  # type: ignore[arg-type]
