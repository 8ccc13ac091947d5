"""Proofs: chains of commands that are the project's own, go on where they broke off, and figures over trainings."""

import importlib
import json
from pathlib import Path

import pytest

from benchmarks import proofs
from benchmarks.proofs import PROOFS, Options, Step, over_trainings


@pytest.mark.parametrize("name", PROOFS)
def test_every_command_knows_its_words(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in PROOFS[name](Options(tmp_path, seeds=[3])):
        module = importlib.import_module(step.words[0])
        if hasattr(module, "__path__"):
            module = importlib.import_module(f"{step.words[0]}.__main__")
        with pytest.raises(SystemExit) as end:
            module.main([*map(str, step.words[1:]), "--print-config"])
        assert end.value.code in (None, 0), step.words
        assert str(tmp_path) in capsys.readouterr().out


def figures(value: float) -> str:
    return json.dumps({"splits": {"test": {"systems": {"model": {"lips": {"mean": value}, "none": {"mean": None}}}}}})


def test_the_last_validation_of_a_run_counts(tmp_path: Path) -> None:
    lines = ["step,train/loss,val/loss,val/auc", "1,3.0,,", "1,,2.0,0.5", "2,1.0,,", "2,,1.5,"]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    assert proofs.validated(tmp_path / "metrics.csv") == {"val/loss": 1.5, "val/auc": 0.5}


def chain(options: Options) -> list[Step]:
    """Figures of one run a seed, by a command that writes what it reads."""
    steps = []
    for seed in options.seeds:
        done = options.folder / f"net-{seed}" / "evaluation" / "figures.json"
        done.parent.mkdir(parents=True, exist_ok=True)
        steps.append(Step(["json.tool", str(options.folder / f"{seed}.json"), str(done)], done))
    return steps


def test_a_chain_goes_on_and_its_figures_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(proofs.PROOFS, "small", chain)  # type: ignore[arg-type]
    monkeypatch.setattr("benchmarks.machine.RESULTS", tmp_path / "results")
    folder = tmp_path / "proofs" / "small"
    folder.mkdir(parents=True)
    (folder / "0.json").write_text(figures(1.0))
    words = ["small", "--folder", str(tmp_path / "proofs"), "--seeds", "0", "1"]
    assert proofs.main(words) == 1, "the second command has nothing to read"
    assert not (tmp_path / "results").exists()

    (folder / "0.json").write_text(figures(9.0))  # the first command is not run again
    (folder / "1.json").write_text(figures(3.0))
    assert proofs.main(words) == 0
    (kept,) = (tmp_path / "results").glob("proof-small-*.json")
    result = json.loads(kept.read_text())
    assert result["runs"] == {"net-0": {"test/model/lips": 1.0}, "net-1": {"test/model/lips": 3.0}}
    assert result["trainings"] == {"net": {"test/model/lips": {"mean": 2.0, "std": pytest.approx(2**0.5)}}}
    assert [row["minutes"] is None for row in result["commands"]] == [True, False]


def test_one_training_has_no_spread(tmp_path: Path) -> None:
    assert over_trainings({"net-0": {"a": 1.0}, "other": {"a": 2.0}}) == {}


def test_an_unknown_proof_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        proofs.main(["demos"])
    assert end.value.code == 2
    assert "demo-portrait" in capsys.readouterr().err
