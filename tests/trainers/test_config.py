"""What the training command makes of its config."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.trainers import toy
from trainers.fit import main

toy.register()

ROOT = Path(__file__).resolve().parents[2]
TOY = ["stage=toy", "data=toy", "trainer.max_steps=2"]


def error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The message of a command line that is refused."""
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(list(words)))
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("config error: ")
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("stage.widht=3", ["stage.widht", "network.width"]),
        ("stage.network.widht=3", ["stage.network.widht", "width"]),
        ("stage.width=3", ["stage.width", "stage.network.width=3"]),
        ("trainer.max_step=3", ["trainer.max_step", "max_steps"]),
        ("trianer.max_steps=3", ["trianer", "trainer"]),
        ("trainer.max_steps=soon", ["trainer.max_steps", "soon"]),
        ("stage.optimizer.lrr=1", ["stage.optimizer.lrr", "lr"]),
        ("stage.optimizer=adann", ["adann", "adan"]),
        ("stage=toyy", ["toyy", "toy"]),
        ("strategy=dpp", ["dpp", "ddp"]),
        ("trainer.precision=31", ["trainer.precision", "31"]),
    ],
)
def test_wrong_word_is_named_with_the_nearest_right_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, word: str, parts: list[str]
) -> None:
    message = error(capsys, *TOY, f"run={tmp_path / 'run'}", word)
    assert all(part in message for part in parts), message
    assert not (tmp_path / "run").exists()


def test_options_may_stand_before_the_name_of_their_part(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["stage.optimizer.lr=0.5", "stage.network.width=3", "stage.optimizer=adamw", "stage=toy", "data=toy"]
    with pytest.raises(SystemExit):
        main([*words, "--print-config"])
    stage = yaml.safe_load(capsys.readouterr().out)["stage"]
    assert (stage["name"], stage["network"]["width"]) == ("toy", 3)
    assert (stage["optimizer"]["name"], stage["optimizer"]["lr"]) == ("adamw", 0.5)


def test_wrong_key_in_a_file_names_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base, config = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text("stage: {name: toy, network: {widht: 3}}\ndata: {name: toy}\n")
    config.write_text("extends: base.yaml\ntrainer: {max_steps: 2}\n")
    message = error(capsys, "--config", str(config))
    assert str(base) in message
    assert "stage.network.widht" in message
    assert "'width'" in message


def test_a_config_from_before_networks_had_a_section_is_told_all_of_its_new_keys(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "old.yaml"
    config.write_text("stage: {name: toy, width: 3, pause: 0.1, dropout: 0.2}\ndata: {name: toy}\n")
    message = error(capsys, "--config", str(config))
    assert str(config) in message
    assert "'stage.width' stands in a section now: write stage.network.width=3 stage.network.dropout=0.2" in message


def test_misspelt_key_stops_in_seconds_without_a_traceback_and_writes_nothing(tmp_path: Path) -> None:
    start = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "trainers.fit", "stage=human.pose_autoencoder", "stage.widht=8", "data.shards=x"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert time.monotonic() - start < 100  # some four seconds on a free machine
    assert ended.returncode == 2
    assert "stage.widht" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["trainer.max_steps=-1"], "trainer.max_steps"),
        (["trainer.devices=many"], "trainer"),
        (["gradient_checkpointing=true"], "gradient_checkpointing"),
        (["init_from=/nowhere"], "/nowhere"),
        (["resume=/nowhere"], "/nowhere"),
        (["stage.schedule=cosine", "trainer.max_steps=-1", "trainer.max_epochs=-1"], "cosine"),
    ],
)
def test_what_cannot_be_done_is_an_error_for_the_user(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], part: str
) -> None:
    assert part in error(capsys, *TOY, f"run={tmp_path / 'run'}", "trainer.accelerator=cpu", *words)


CONFIGS = sorted((ROOT / "configs").glob("*/*/*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=[str(path.relative_to(ROOT)) for path in CONFIGS])
def test_every_config_is_right_and_its_print_reads_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, path: Path
) -> None:
    def printed(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--print-config"])
        assert ended.value.code == 0, capsys.readouterr().err
        return capsys.readouterr().out

    once = printed("--config", str(path), "data.shards=shards")
    repeated = tmp_path / "again.yaml"
    repeated.write_text(once)
    assert printed("--config", str(repeated)) == once
    assert yaml.safe_load(once)["data"]["shards"] == "shards"


def test_help_names_every_key_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["stage=toy", "data=toy", "--help"])
    out = capsys.readouterr().out
    for key in ("stage.network.width", "stage.optimizer.lr", "trainer.max_steps", "ema.decay", "wandb.mode", "resume"):
        assert key in out
    assert "inner channels" in out


@pytest.mark.parametrize("word", ["ema.every_n_steps=0", "ema.decay=1.5", "ema.decay=-0.1"])
def test_average_out_of_range_is_named_before_anything_is_written(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    said = error(capsys, *TOY, f"run={run}", word)
    key, _, value = word.partition("=")
    assert key in said
    assert f"got {value}" in said
    assert not run.exists()
