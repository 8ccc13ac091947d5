"""Measuring: baselines, figures and tables, on small shards."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from datamodules.shards.index import Index
from models.human.autoencoder import PoseAutoencoder
from models.human.keypoints import CHIN, INNER_LIP_BOTTOM, INNER_LIP_TOP
from models.mmgt.smga import SMGA
from reports import Page
from settings import ConfigError
from settings.hashes import file_hash
from tests.shards import write_shards
from trainers.evaluate import evaluate, main
from trainers.evaluation import tables
from trainers.evaluation.clips import EvaluationClip, load_clips, visible
from trainers.evaluation.comparison import spread, without_clips
from trainers.evaluation.pose_figures import FIGURES, measure
from trainers.mmgt.evaluation import baselines
from trainers.mmgt.evaluation.gestures import DIFFERENT, PAPER, PAPER_SOURCE, batches, evaluate_gestures
from trainers.mmgt.system import GestureOptions

CONFIGS = Path(__file__).parents[2] / "configs" / "human" / "pose_autoencoder"


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, clips=10, seconds=(4.0, 2.4), splits=("train", "train", "test", "test", "test_unseen"))
    return folder


@pytest.fixture(scope="module")
def encoder() -> PoseAutoencoder:
    torch.manual_seed(0)
    return PoseAutoencoder(window=16, width=16, features=4).eval()


class Knowing:
    """A model that gives the right poses when it hears the right speech, and noise when it does not."""

    fps = 25.0

    def __init__(self, shards: Path):
        self.known = [clip for split in ("test", "test_unseen") for clip in load_clips(shards, split, None, None)]

    def hear(self, speech, clip_id):
        return speech["handcrafted"]

    def poses(self, first_poses, speech, *, seed, steps, guidance):
        output = []
        for first, heard in zip(first_poses, speech, strict=True):
            match = [
                c
                for c in self.known
                if np.array_equal(c.pose[0], first) and np.array_equal(c.speech[: len(heard)], heard)
            ]
            noise = np.random.default_rng(seed).normal(0, 0.05, (len(heard), 134, 1)).astype(np.float32)
            output.append(
                match[0].pose[: len(heard)]
                if match
                else np.concatenate([first[None, :, :2] + noise, noise * 0 + 1], -1)
            )
        return output


def talking(clip: EvaluationClip) -> EvaluationClip:
    """The same clip with a face whose brows are over its chin and whose lips can be seen."""
    pose = clip.pose.copy()
    pose[:, 24:92, 2] = 1
    pose[:, 41:51, 1], pose[:, CHIN, 1] = 0.2, 0.4
    pose[:, INNER_LIP_TOP, 1], pose[:, INNER_LIP_BOTTOM, 1] = 0.35, 0.37 + 0.01 * np.sin(np.arange(len(pose)))
    return replace(clip, pose=pose)


def plan(shards: Path, **changes) -> GestureOptions:
    values = {
        "splits": None,
        "seeds": [0, 1, 2],
        "steps": 5,
        "guidance": 2.0,
        "clips": None,
        "seconds": None,
        "batch": 2,
        "neighbours": 50,
    }
    return GestureOptions(**{"shards": str(shards), **values, **changes})


def test_clips_are_the_split_and_no_longer_than_asked(shards):
    clips = load_clips(shards, "test", None, 2.0)
    assert {clip.info.split for clip in clips} == {"test"}
    assert len(clips) == 4
    assert all(
        clip.frames == 50 and clip.pose.shape == (50, 134, 3) and clip.speech.shape == (50, 35) for clip in clips
    )
    assert len(load_clips(shards, "test", 2, None)) == 2


def test_what_is_not_drawn_is_not_measured():
    pose = np.array([[[0.5, 0.5, 0.2], [0.5, 0.5, 0.4]]], np.float32)
    assert visible(pose)[0].tolist() == [[-1, -1, 0], [0.5, 0.5, pytest.approx(0.4)]]


def test_still_baselines_stand_still(shards):
    clips, statistics = load_clips(shards, "test", None, None), Index.load(shards).statistics
    still = (baselines.mean_pose(clips, statistics), baselines.own_mean_pose(clips), baselines.held_pose(clips))
    for poses in still:
        assert [len(one) for one in poses] == [clip.frames for clip in clips]
        assert all((one == one[0]).all() for one in poses)
    assert np.allclose(still[0][0][0, :, :2], statistics["pose"]["mean"])
    seen = clips[0].pose[0, :, 2] > 0
    assert np.allclose(still[1][0][0, seen], clips[0].pose.mean(0)[seen], atol=1e-5)
    assert np.array_equal(still[2][0][0], clips[0].pose[0])


def test_shuffled_speech_is_never_the_own_and_has_its_length(shards):
    clips = load_clips(shards, "test", None, None)
    for seed in range(5):
        for clip, other in zip(clips, baselines.other_speech(clips, seed), strict=True):
            assert other.shape == clip.speech.shape
            shorter = min(len(c.speech) for c in clips)
            assert not np.array_equal(other[:shorter], clip.speech[:shorter])
    assert not np.array_equal(baselines.other_speech(clips[:1], 0)[0], clips[0].speech)


def test_nearest_neighbour_finds_its_own_window_again(shards):
    search = baselines.NearestNeighbour(shards, Index.load(shards).statistics, window=20, limit=500)
    clip = load_clips(shards, "train", 1, None)[0]
    assert np.array_equal(search.poses([clip])[0], clip.pose)


def test_the_truth_is_at_zero_from_itself(shards, encoder):
    clips = [talking(clip) for clip in load_clips(shards, "test", None, None)]
    figures = measure([clip.pose for clip in clips], clips, encoder)
    for name in ("fgd", "bas_distance", "velocity_error", "acceleration_error", "pose_error", "missed_points"):
        assert figures[name] == pytest.approx(0, abs=1e-6), name
    assert figures["lip_correlation"] == pytest.approx(1)


def test_spread_is_over_seeds():
    values = spread([{"fgd": 1.0}, {"fgd": 2.0}, {"fgd": 4.5}])["fgd"]
    assert values["mean"] == pytest.approx(2.5)
    assert values["std"] == pytest.approx(np.std([1, 2, 4.5], ddof=1))
    assert spread([{"fgd": 1.0}])["fgd"]["std"] is None


def test_a_model_that_listens_beats_every_baseline(shards, encoder):
    results = evaluate_gestures(Knowing(shards), encoder, plan(shards))
    assert list(results) == ["test", "test_unseen"]
    part = results["test"]
    assert part["verdicts"]["lip_correlation"]["outcome"] == "too few clips"  # 4
    assert part["ids"] == [clip.info.id for clip in load_clips(shards, "test", None, None)]
    assert part["systems"]["model"]["pose_error"]["mean"] == 0
    assert part["systems"]["shuffled_audio"]["pose_error"]["mean"] > 0
    assert part["systems"]["shuffled_audio"]["velocity_error"]["std"] > 0
    still = part["systems"]["held_pose"]["lip_correlation"]
    assert (still["mean"], still["std"], still["values"], still["low"], still["high"]) == (0, 0, [0, 0, 0], 0, 0)
    assert part["systems"]["shuffled_audio"]["fgd"]["low"] < part["systems"]["shuffled_audio"]["fgd"]["high"]
    assert set(part["systems"]) == {
        "model", "mean_pose", "own_mean_pose", "held_pose", "shuffled_audio", "nearest_audio", "truth",
    }  # fmt: skip


def test_without_held_out_clips_it_says_so(tmp_path, encoder):
    write_shards(tmp_path, clips=2, splits=("train",))
    results = evaluate_gestures(Knowing(tmp_path), encoder, plan(tmp_path, seeds=[0]))
    assert results["train"]["seen_in_training"]
    with pytest.raises(ConfigError, match="no clips with pose, speech and sound in test"):
        evaluate_gestures(Knowing(tmp_path), encoder, plan(tmp_path, splits=["test"]))


def test_another_frame_rate_is_refused(shards, encoder):
    model = Knowing(shards)
    model.fps = 30.0
    with pytest.raises(ConfigError, match="25 frames a second, the model was trained at 30"):
        evaluate_gestures(model, encoder, plan(shards))


def test_tables_hold_the_figures_and_the_papers_own(shards, encoder, tmp_path):
    part = evaluate_gestures(Knowing(shards), encoder, plan(shards, splits=["test"]))
    part["test"]["systems"]["truth"]["fgd"] = {"mean": float("nan"), "std": None, "values": []}
    paper = {"source": PAPER_SOURCE, "rows": PAPER, "note": DIFFERENT}
    figures = tables.meanings(FIGURES)
    part = without_clips(part)
    results = {"settings": {"seeds": [0, 1, 2]}, "splits": part, "figures": figures, "paper": paper}
    figures, rows = tables.write(results, tmp_path)
    assert json.loads(figures.read_text())["splits"]["test"]["systems"]["truth"]["fgd"]["mean"] is None
    with rows.open() as file:
        table = list(csv.DictReader(file))
    assert {
        "split": "paper",
        "system": "MMGT, audio driven",
        "figure": "fgd",
        "mean": "6.02",
        "std": "",
        "low": "",
        "high": "",
    } in table
    assert {row["figure"] for row in table} <= set(FIGURES)
    text = tables.as_text(results)
    assert "6.02" in text
    assert "PATS" in text
    assert "other data" in text
    assert "shuffled" in text
    assert "Lips r ↑" in text
    assert "3 seeds" in text


def test_batches_hold_clips_of_nearly_one_length():
    lengths = [100, 30, 105, 31, 200, 101]
    parts = batches(lengths, 2)
    assert sorted(i for part in parts for i in part) == list(range(6))
    assert all(
        len(part) <= 2 and max(lengths[i] for i in part) <= 1.15 * min(lengths[i] for i in part) for part in parts
    )
    assert len(parts) == 4


@pytest.fixture(scope="module")
def run(tmp_path_factory, shards) -> Path:
    """A run folder with the export of a small untrained network."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    torch.manual_seed(0)
    network = SMGA(width=16, layers=1, heads=2, feedforward=32, audio_layers=1, window=20, sampling_steps=2)
    torch.nn.init.normal_(network.head.weight, std=0.2)
    network.set_statistics(Index.load(shards).statistics)
    network.save_pretrained(folder / "export")
    settings = {"stage": {"name": "mmgt.smga"}, "data": {"name": "clips", "shards": str(shards)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def test_the_command_trains_its_autoencoder_once_and_writes_what_it_prints(run, tmp_path, capsys):
    config = tmp_path / "short.yaml"
    small = "data: {batch_size: 4}\ntrainer: {max_steps: 2}\ncheckpoint: {every_n_steps: 2}\n"
    config.write_text(f"extends: {CONFIGS / 'tiny.yaml'}\n{small}")
    words = [
        "--run",
        str(run),
        "--evaluator-config",
        str(config),
        "--seeds",
        "[0, 1]",
        "--batch",
        "2",
        "clips=2",
        "seconds=1",
    ]
    assert main(words) == 0
    printed = capsys.readouterr().out
    figures = json.loads((run / "evaluation" / "figures.json").read_text())
    assert "shuffled audio" in printed
    assert "PATS" in printed
    assert figures["model"]["sha256"] == file_hash(run / "export" / "model.safetensors")
    weights = run / "evaluation" / "evaluator" / "export" / "model.safetensors"
    assert figures["evaluator"]["sha256"] == file_hash(weights)
    assert len(figures["splits"]["test"]["systems"]["model"]["fgd"]["values"]) == 2
    page = Page("a run")
    tables.add_to_page(page, figures)
    html = page.write(tmp_path / "page.html").read_text()
    assert "Evaluation: new clips (test)" in html
    assert "6.02" in html
    # The second time it takes the one it has, and says the same.
    repeated = evaluate(run=str(run), seeds=[0, 1], batch=2, clips=2, seconds=1)
    assert repeated["splits"]["test"]["systems"] == figures["splits"]["test"]["systems"]
    # An export alone has to be told about data and output.
    alone = tmp_path / "alone"
    SMGA.from_pretrained(run / "export").save_pretrained(alone)
    with pytest.raises(ConfigError, match="data=SHARDS"):
        evaluate(run=str(alone))
    shards = figures["settings"]["shards"]
    with pytest.raises(ConfigError, match="out=FOLDER"):
        evaluate(run=str(alone), data=shards)
    kept = str(run / "evaluation" / "evaluator")
    output = evaluate(
        run=str(alone), data=shards, out=tmp_path / "out", evaluator=kept, seeds=[0, 1], batch=2, clips=2, seconds=1
    )
    assert output["splits"]["test"]["systems"] == figures["splits"]["test"]["systems"]
    with pytest.raises(ConfigError, match=r"mmgt\.smga; give one of human\.pose_autoencoder"):
        evaluate(run=str(run), evaluator=str(run))
    with pytest.raises(ConfigError, match=r"evaluate can measure: .*mmgt\.smga"):
        evaluate(run=kept)


@pytest.fixture(scope="module")
def moved(tmp_path_factory, run) -> Path:
    """A copy of the run whose shards are gone from where they were."""
    folder = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("evaluation"))
    settings = {"stage": {"name": "mmgt.smga"}, "data": {"name": "clips", "shards": "/gone/shards"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def test_a_moved_run_is_measured_on_shards_given_anew(moved, shards, encoder):
    encoder.save_pretrained(moved / "evaluation" / "evaluator" / "export")
    encoder_config = {"stage": {"name": "human.pose_autoencoder"}}
    (moved / "evaluation" / "evaluator" / "config.yaml").write_text(yaml.safe_dump(encoder_config))
    output = evaluate(run=str(moved), data=str(shards), seeds=[0], clips=2, seconds=1, splits=["test"])
    assert output["splits"]["test"]["clips"] == 2
    assert output["settings"]["shards"] == str(shards)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run={moved}"], "the run or the shards were moved: say where they are with data=SHARDS"),
        (["run=nowhere"], "no such folder"),
        (["run={run}", "data=nowhere"], "no index at nowhere"),
        (["run={run}", "seeds=[]"], "at least one"),
        (["run={run}", "seeds=[1, 1]"], "each once"),
        (["run={run}", "evaluator=nowhere"], "no such folder"),
        (["run={run}", "beside={{other: {run}}}"], "implicit_motion.motion, versa.audio_motion"),
        (["run={run}", "weights={{i3d: {run}}}"], "implicit_motion.base"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_line(words, said, run, moved, capsys):
    try:
        status = main([word.format(run=run, moved=moved) for word in words])
    except SystemExit as ended:  # what the command line itself refuses
        status = ended.code
    assert status == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
