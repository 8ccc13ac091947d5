"""Runs beside each other: the same clips, one network that measures, one table, one page."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from datamodules.shards.index import Index
from models.human.autoencoder import PoseAutoencoder
from models.implicit_motion import ImplicitMotion
from models.mmgt.smga import SMGA
from settings import ConfigError
from settings.hashes import file_hash
from tests.shards import write_shards
from tests.trainers.test_evaluate_pictures import SMALL
from trainers.compare import KEPT, compare, main


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    keys = ("pose.npz", "speech.npz", "audio.flac", "video.mp4")
    write_shards(folder, clips=13, seconds=(1.0,), keys=keys, splits=("train", *["test"] * 12))
    return folder


def run_of(folder: Path, network, stage: str, shards: Path) -> Path:
    network.save_pretrained(folder / "export")
    settings = {"stage": {"name": stage}, "data": {"name": "clips", "shards": str(shards)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "metrics.csv").write_text("step,epoch,train/loss\n0,0,1.0\n1,0,0.5\n")
    (folder / "samples").mkdir()
    (folder / "samples" / "step-00000002_a.mp4").write_bytes(b"video")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory, shards) -> dict[str, Path]:
    folder, output = tmp_path_factory.mktemp("runs"), {}
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        smga = SMGA(width=16, layers=1, heads=2, feedforward=32, audio_layers=1, window=20, sampling_steps=2)
        torch.nn.init.normal_(smga.head.weight, std=0.2)
        smga.set_statistics(Index.load(shards).statistics)
        output[name] = run_of(folder / name, smga, "mmgt.smga", shards)
        output[f"base-{name}"] = run_of(
            folder / f"base-{name}", ImplicitMotion(**SMALL), "implicit_motion.base", shards
        )
    encoder = PoseAutoencoder(window=16, width=16, features=4)
    run_of(output["one"] / "evaluation" / "evaluator", encoder, "human.pose_autoencoder", shards)
    return output


def test_two_runs_stand_in_one_table_measured_by_one_network(runs, tmp_path, slow_clock, capsys):
    out = tmp_path / "both"
    words = [str(runs["one"]), str(runs["two"]), f"out={out}", "seeds=[0]", "seconds=1", "steps=2"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "measuring two (2 of 2)  12/12, clips made  ETA 00:00" in printed.err
    said = printed.out
    output = json.loads((out / "comparison.json").read_text())
    part = output["splits"]["test"]
    baselines = {f"baseline: {name}" for name in ("held first pose", "mean pose", "own mean (oracle)")}
    assert set(part["systems"]) == {"one", "two", "truth", *baselines}
    assert not baselines & set(part["best"].values()), "the best of the runs is marked"
    assert part["clips"] == len(part["ids"]) == 12
    own = runs["one"] / "evaluation" / "evaluator" / "export" / "model.safetensors"
    assert output["evaluator"]["sha256"] == file_hash(own)
    assert (out / KEPT / file_hash(own) / "export" / "model.safetensors").is_file()
    assert part["systems"]["one"]["fgd"]["mean"] != part["systems"]["two"]["fgd"]["mean"]
    best = part["best"]["pose_error"]
    assert best == min(("one", "two"), key=lambda name: part["systems"][name]["pose_error"]["mean"])
    (other,) = part["against_best"]["pose_error"]
    assert {best, other} == {"one", "two"}
    assert "FGD ↓" in said
    assert "★" in said
    with (out / "comparison.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {row["run"] for row in table} == {"one", "two", "truth", *baselines}
    page = (out / "comparison.html").read_text()
    assert page.count("data:video/mp4") == 2
    assert "Training curves" in page
    for name in ("one", "two"):
        assert f"<td>{name}</td><td>{runs[name]}</td><td>mmgt.smga</td>" in page
    assert "one, " not in page.split("<svg")[0]
    # The kept network is found again, by the folder and from elsewhere, also when the run has lost its own.
    repeated = compare(
        runs=[str(runs["two"]), str(runs["one"])], out=tmp_path / "more", evaluator=str(out), seeds=[0], seconds=1,
        steps=2,
    )  # fmt: skip
    assert repeated["evaluator"]["sha256"] == file_hash(own)
    figures = repeated["splits"]["test"]["systems"]["one"]["fgd"]
    assert figures["mean"] == pytest.approx(part["systems"]["one"]["fgd"]["mean"])
    kept = out / KEPT / file_hash(own)
    shutil.move(kept, kept.with_name("0" * 64))
    with pytest.raises(ConfigError, match="was changed"):
        compare(runs=[str(runs["two"]), str(runs["one"])], out=out)


def test_runs_of_another_stage_without_an_evaluator(runs, tmp_path):
    both = [str(runs["base-one"]), str(runs["base-two"])]
    shutil.rmtree(runs["base-two"] / "samples")
    output = compare(runs=both, out=tmp_path, clips=3, seconds=0.4)
    part = output["splits"]["test"]
    assert output["evaluator"] is None
    rows = {"base-one", "base-two", "baseline: copied source frame", "baseline: own mean frame (oracle)"}
    assert set(part["systems"]) == rows
    assert part["against_best"]["psnr"].popitem()[1] == {"outcome": "too few clips"}
    page = (tmp_path / "comparison.html").read_text()
    assert "base-two has no videos yet" in page
    assert f"trainers.animate --run {runs['base-two']} " in page
    assert "base-one has no videos" not in page
    assert "TOO FEW CLIPS" in (tmp_path / "comparison.md").read_text()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["one", "base-one"], "measured by different figures"),
        (["one"], "two runs or more"),
        (["one", "nowhere"], "no such folder"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(names, said, runs, tmp_path, capsys):
    assert main([str(runs.get(name, name)) for name in names] + [f"out={tmp_path}"]) == 2
    assert said in capsys.readouterr().err
