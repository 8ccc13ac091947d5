"""Trained networks are found by path, run folder, export folder and hub name, and every miss says what to do."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from models.human.autoencoder import PoseAutoencoder
from models.versa.tokenizer import MotionTokenizer
from pretrained.exports import Export, find, find_stage, load_frozen, load_network
from settings import ConfigError

STAGE = "human.pose_autoencoder"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    torch.manual_seed(0)
    PoseAutoencoder().save_pretrained(folder / "export")
    (folder / "config.yaml").write_text(yaml.safe_dump({"stage": {"name": STAGE}, "seed": 7}))
    return folder


@pytest.fixture
def alone(run: Path, tmp_path: Path) -> Path:
    """The same network, without its run."""
    folder = tmp_path / "alone"
    PoseAutoencoder.from_pretrained(run).save_pretrained(folder)
    return folder


def on_the_hub(monkeypatch: pytest.MonkeyPatch, folder: Path | None, reason: str = "no route to host") -> list:
    """The hub gives a folder, or nothing; returns what it is asked for."""
    asked: list = []

    def give(repository: str, allow_patterns: list[str]) -> str:
        asked.append((repository, allow_patterns))
        if folder is None:
            raise OSError(f"{reason}\nand more")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", give)
    return asked


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("inside", ["", "export"])
def test_a_run_folder_and_its_export_are_one_network(run: Path, inside: str) -> None:
    found = find(str(run / inside))
    sha256 = hashlib.sha256((run / "export" / "model.safetensors").read_bytes()).hexdigest()
    assert found == Export(run / "export", "mine", STAGE, sha256, run, {"stage": {"name": STAGE}, "seed": 7})
    assert same(load_network(PoseAutoencoder, found), PoseAutoencoder.from_pretrained(run))
    assert not load_network(PoseAutoencoder, found).training


def test_a_folder_under_the_home_is_found(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(run.parent))
    assert find("~/mine").folder == run / "export"


def test_a_network_that_came_alone_says_its_stage_in_its_card(alone: Path) -> None:
    found = find(alone, stages=[STAGE])
    assert (found.name, found.stage, found.run, found.settings) == ("alone", STAGE, None, {})
    assert find(alone).stage == STAGE
    (alone / "README.md").write_text("---\ntags: [v1.0, made up, mmgt.smga]\n---\n")
    assert find(alone).stage == "mmgt.smga"
    with pytest.raises(ConfigError, match=rf"cannot tell which stage .*found None.*{STAGE}"):
        find(alone, stages=[STAGE])
    (alone / "README.md").unlink()
    assert find(alone).stage == ""
    with pytest.raises(ConfigError, match=rf"stage\.evaluator: .*no known stage; one of {STAGE} is needed"):
        find_stage(str(alone), "evaluator", STAGE)


def test_a_hub_name_is_fetched(alone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    asked = on_the_hub(monkeypatch, alone)
    found = find("owner/name", stages=[STAGE])
    assert (found.folder, found.name, found.stage, found.run) == (alone, "owner/name", STAGE, None)
    assert asked == [("owner/name", ["config.json", "model.safetensors", "README.md"])]
    (alone / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"run=owner/name: the hub's repository has no config\.json with model"):
        find("owner/name")


@pytest.mark.parametrize("name", ["nowhere", "./nowhere/run", "../a/b", "/nowhere", "a/b/c", "~/nowhere/run"])
def test_a_path_at_which_nothing_is_asks_nobody(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    asked = on_the_hub(monkeypatch, None)
    with pytest.raises(ConfigError, match=r"base=.*no such folder; give a run folder, its export/ folder or a hub"):
        find(name, "base")
    assert asked == []


def test_what_the_hub_does_not_give_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    on_the_hub(monkeypatch, None)
    with pytest.raises(ConfigError) as raised:
        find("owner/name")
    assert str(raised.value) == "run=owner/name: no such folder here, and the hub does not give it (no route to host)"


def test_offline_and_not_downloaded_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="the hub does not give it"):
        find("owner/name")


def _no_weights(run: Path) -> None:
    (run / "export" / "model.safetensors").unlink()


def _nothing(run: Path) -> None:
    _no_weights(run)
    (run / "config.yaml").unlink()


def _no_yaml(run: Path) -> None:
    (run / "config.yaml").write_text("stage: [")


def _another_yaml(run: Path) -> None:
    (run / "config.yaml").write_text("- stage")


def _of_nobody(run: Path) -> None:
    (run / "config.yaml").write_text("stage: {name: another.one}")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_no_weights, r"has no export yet .*python -m trainers\.export --run"),
        (_nothing, r"neither a run folder nor an export: it has no export/ and no config\.json with model\.safet"),
        (_no_yaml, r"config\.yaml is not YAML that can be read"),
        (_another_yaml, r"config\.yaml is not the config of a run"),
        (_of_nobody, rf"cannot tell which stage .*found 'another\.one'.*README\.md: {STAGE}"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(run: Path, tmp_path: Path, harm, said: str) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    harm(copy)
    with pytest.raises(ConfigError, match=said):
        find(copy, stages=[STAGE])


def test_a_file_is_no_network(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"run=.*model\.safetensors is a file; give a run folder"):
        find(run / "export" / "model.safetensors")


def test_the_network_of_another_stage_is_refused(run: Path) -> None:
    assert find_stage(str(run), "evaluator", "versa.tokenizer", STAGE).stage == STAGE
    with pytest.raises(ConfigError) as raised:
        find_stage(str(run), "tokenizer", "versa.tokenizer", "versa.other")
    assert str(raised.value) == f"stage.tokenizer: {run} is a network of {STAGE}; one of versa.tokenizer is needed"
    with pytest.raises(ConfigError, match=r"^stage\.tokenizer=/nowhere: no such folder"):
        find_stage("/nowhere", "tokenizer", "versa.tokenizer")


def test_a_file_of_another_class_or_a_damaged_one_is_told(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"does not hold a MotionTokenizer that this version can read .*export it ag"):
        load_network(MotionTokenizer, find(alone))
    with pytest.raises(ConfigError, match=r"^tokenizer=.*does not hold versa's tokenizer \("):
        load_frozen(MotionTokenizer, "tokenizer", str(alone), "versa's tokenizer")
    config = json.loads((alone / "config.json").read_text())
    (alone / "config.json").write_text(json.dumps({**config, "surely_unknown": 1, "window": 99}))
    weights = alone / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ConfigError, match="does not hold a PoseAutoencoder that this version can read") as raised:
        load_network(PoseAutoencoder, find(alone))
    assert "\n" not in str(raised.value)
    assert capsys.readouterr().out == ""


def test_a_network_to_measure_with_is_frozen_and_known_by_its_hash(run: Path) -> None:
    network, sha256 = load_frozen(PoseAutoencoder, "evaluator", str(run), "an autoencoder")
    assert sha256 == find(run).sha256
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
