"""Measuring VersaAnimator's video half: every row, every way of driving it, who is held against whom."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.human.keypoints import FACE, NOSE
from models.human.projection import project_joints
from models.versa.token2pose import PoseBank, Template
from pretrained.faces import FaceColours
from settings import ConfigError
from tests.autoencoders import save_autoencoder
from tests.shards import Members, write_shards
from tests.trainers.test_animate_versa import CODES, runs  # noqa: F401  (a fixture)
from tests.trainers.versa_measured import KEYS, SCALES, SIZE, clips_of_every_scale, video_run
from trainers.evaluate import evaluate, main
from trainers.evaluation.talks import load_talks
from trainers.evaluation.videos import load_shots
from trainers.versa.evaluation.video_model import VersaVideoModel
from trainers.versa.evaluation.video_paper import PAPER

QUICK: dict[str, Any] = {"reader_steps": 3, "splits": ["test"], "clips": None, "seconds": 0.6, "seeds": [0]}
ROWS = {"model", "shuffled_audio", "shuffled_blink", "source", "reconstruction", "truth"}
HEAD = [NOSE, *range(14, 18), *range(FACE.start, FACE.stop)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def shards(folder) -> Path:
    return clips_of_every_scale(folder)


@pytest.fixture(scope="module")
def autoencoder(folder) -> Path:
    return save_autoencoder(folder / "vae")


@pytest.fixture(scope="module")
def run(folder, shards, autoencoder) -> Path:
    return video_run(folder / "audio", "versa.audio_video", shards, autoencoder)


@pytest.fixture(scope="module")
def unseen():
    """No face is looked for in frames of bars."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "trainers.evaluation.faces.FaceFinder.__call__", lambda self, frames: np.full((len(frames), 68, 3), np.nan)
        )
        yield


@pytest.fixture(scope="module")
def measured(run, unseen) -> dict:
    return evaluate(run=str(run), **QUICK)


@pytest.mark.paper("VA-17")
def test_every_row_stands_in_the_table_with_hands_arms_eyes_and_likeness_by_scale(measured, run):
    part = measured["splits"]["test"]
    systems = part["systems"]
    assert set(systems) == set(part["labels"]) == ROWS
    assert (part["clips"], measured["drive"]) == (3, "both")
    assert {"psnr", "ssim", "psnr_hands_arms", "retrieval_hands_arms", "lip_correlation"} <= set(systems["model"])
    assert {"eye_correlation", "likeness", "seam", "drift_colour"} <= set(systems["truth"])
    assert not {"psnr_hands_arms", "retrieval_hands_arms"} & set(systems["truth"])
    whole = np.mean([systems["model"][f"likeness_{scale}"]["mean"] for scale in SCALES])
    assert systems["model"]["likeness"]["mean"] == pytest.approx(whole, abs=1e-6), "clips are equally long"
    assert systems["source"]["likeness"]["mean"] == pytest.approx(1), "a copy is as like itself as can be"
    assert systems["source"]["eye_correlation"]["mean"] == 0, "still eyes earn nothing"
    assert measured["judged_by"]["likeness"]["conditions"] is False
    assert "fitted to faces" in measured["judged_by"]["likeness"]["network"]
    stored = json.loads((run / "evaluation" / "figures.json").read_text())
    assert stored["splits"]["test"]["systems"].keys() == systems.keys()


@pytest.mark.paper("VA-17")
def test_the_paper_s_own_figures_stand_beside(measured, run, unseen, tmp_path, capsys):
    with_pose, alone = PAPER
    names = ("fid", "fvd", "ssim", "psnr", "efid", "sync_d", "sync_c", "csim")
    assert [with_pose[name] for name in names] == [16.28, 128.40, 0.26, 20.69, 3.12, 8.85, 6.55, 0.99]
    assert [alone[name] for name in names] == [29.28, 235.84, 0.32, 16.44, 7.73, 8.57, 6.75, 0.74]
    words = [f"run={run}", "clips=1", "seconds=0.4", "seeds=[0]", "reader_steps=2", f"out={tmp_path / 'out'}"]
    assert main([*words, "drive=pose"]) == 0
    printed = capsys.readouterr().out
    assert "128.4" in printed
    assert "Sync-D" in printed
    assert "PSNR, hands and arms" in printed


def test_who_is_held_against_whom(measured):
    verdicts = measured["splits"]["test"]["verdicts"]
    assert set(verdicts) == {"psnr_mouth_hands", "psnr_hands_arms", "lip_correlation", "eye_correlation"}
    for name, verdict in verdicts.items():
        assert verdict["outcome"] == "too few clips", name
        assert verdict["best_baseline"] not in ("reconstruction", "truth")
    assert verdicts["psnr_hands_arms"]["best_baseline"] == "source", "the others follow the same poses"


@pytest.mark.paper("VA-17")
def test_each_measure_tells_the_truth_from_noise(run, shards, unseen, monkeypatch, tmp_path):
    shots = {shot.info.id: shot.frames for shot in load_shots(str(shards), "test", None, 0.6, SIZE)}

    def noise(self, first, talk, driving, seed):
        return torch.rand(talk.frames, *first.shape, generator=torch.Generator().manual_seed(seed))

    def copy(self, first, talk, driving, seed):
        return shots[talk.info.id]

    found = {}
    for name, answer in (("copy", copy), ("noise", noise)):
        monkeypatch.setattr(VersaVideoModel, "generate", answer)
        figures = evaluate(run=str(run), out=tmp_path / name, **QUICK)["splits"]["test"]["systems"]
        found[name] = {figure: value["mean"] for figure, value in figures["model"].items()}
        truth = {figure: value["mean"] for figure, value in figures["truth"].items()}
    for figure in ("psnr", "ssim", "psnr_hands_arms", "retrieval_hands_arms", "likeness"):
        assert found["copy"][figure] > found["noise"][figure] + 1e-3, figure
    for figure in ("eye_correlation", "likeness", "lip_correlation"):
        assert found["copy"][figure] == pytest.approx(truth[figure]), "as what is read off true frames"


@pytest.fixture
def told(monkeypatch, unseen) -> list[dict]:
    """What a network is told of each clip, in place of making videos."""
    given: list[dict] = []

    def generate(self, first, talk, driving, seed):
        given.append({"id": talk.info.id, "driving": driving, "seed": seed, "name": self.name})
        return first[None].expand(talk.frames, -1, -1, -1)

    monkeypatch.setattr(VersaVideoModel, "generate", generate)
    return given


@pytest.mark.parametrize(
    ("drive", "followed", "heard", "looked"),
    [("both", True, True, True), ("pose", True, False, False), ("speech_only", False, True, False)],
)
def test_the_drive_says_what_goes_in(run, shards, told, tmp_path, drive, followed, heard, looked):
    output = evaluate(run=str(run), drive=drive, out=tmp_path, **QUICK)["splits"]["test"]
    rows = list(output["systems"])
    assert ("shuffled_audio" in rows) == heard
    assert ("shuffled_blink" in rows) == looked
    made = [row for row in rows if row in ("model", "shuffled_audio", "shuffled_blink")]
    talks = {t.info.id: t for t in load_talks(str(shards), [one["id"] for one in told], 0.6, SIZE, "crop", KEYS[2:])}
    own = told[:: len(made)]
    assert len({one["id"] for one in own}) == 3
    for given in own:
        talk, driving = talks[given["id"]], given["driving"]
        assert (driving.poses is not None) == followed
        assert (driving.features is not None) == heard
        assert driving.expression == ("sad" if looked else None)
        assert (driving.blink is not None) == looked
        if followed:
            assert np.array_equal(driving.poses, talk.pose)
        if heard:
            assert np.array_equal(driving.features[:, 0], talk.speech["handcrafted"])
        if looked:
            np.testing.assert_allclose(driving.blink, np.full(talk.frames, 0.3))
    assert len({given["seed"] for given in own}) == 3, "another noise for each clip"


@pytest.mark.paper("VA-8", "VA-10", "VA-17")
def test_speech_alone_drives_by_poses_that_are_made_of_it(run, told, runs, tmp_path):  # noqa: F811
    output = evaluate(
        run=str(run), drive="audio", motion=str(runs["audio"]), bank=str(runs["bank"]),
        motions={"last features": str(runs["audio"])}, out=tmp_path, **{**QUICK, "clips": 2},
    )  # fmt: skip
    rows = output["splits"]["test"]["systems"]
    assert {"model", "no_bank", "last features", "shuffled_audio"} <= set(rows)
    assert output["splits"]["test"]["labels"]["no_bank"] == "without token2pose"
    assert set(output["poses_by"]["model"]) == {"motion", "tokenizer", "bank"}
    assert set(output["poses_by"]["no_bank"]) == {"motion", "tokenizer"}
    made = {name: told[number] for number, name in enumerate(("model", "shuffled_audio", "no_bank", "last features"))}
    poses = {name: each["driving"].poses for name, each in made.items()}
    assert all(each.shape == (15, 134, 3) for each in poses.values())
    assert not np.array_equal(poses["model"], poses["no_bank"])
    assert np.array_equal(poses["model"], poses["last features"]), "the same network here"
    assert made["model"]["driving"].blink is None
    assert not np.array_equal(made["model"]["driving"].features, made["shuffled_audio"]["driving"].features)


@pytest.mark.paper("VA-13", "VA-14")
def test_a_network_without_attention_to_the_face_stands_beside_and_likeness_is_held_against_it(
    run, shards, autoencoder, told, tmp_path
):
    plain = video_run(tmp_path / "plain", "versa.audio_video", shards, autoencoder, face_attention=False)
    output = evaluate(run=str(run), beside={"faceless": str(plain)}, out=tmp_path / "out", **QUICK)["splits"]["test"]
    assert set(output["systems"]) == ROWS | {"faceless"}
    assert output["verdicts"]["likeness"]["best_baseline"] == "faceless"
    given = [one["driving"] for one in told if one["name"] == "faceless"]
    assert len(given) == 3
    assert all(one.features is None and one.blink is None and one.poses is not None for one in given)


def test_a_network_of_poses_alone_is_measured_without_faces_in_the_shards(folder, shards, autoencoder, told, tmp_path):
    pose_run = video_run(tmp_path / "pose", "versa.pose_video", shards, autoencoder, face_attention=False)
    output = evaluate(run=str(pose_run), data=str(folder / "plain"), out=tmp_path / "out", **QUICK)
    assert output["drive"] == "pose"
    assert set(output["splits"]["test"]["systems"]) == ROWS - {"shuffled_audio", "shuffled_blink"}
    with pytest.raises(ConfigError, match="hears no speech"):
        evaluate(run=str(pose_run), drive="speech_only", **QUICK)


def test_frames_are_made_of_the_first_one_its_face_and_what_drives(run, shards, unseen):
    """The network itself: each thing that it is told changes the frames."""
    from trainers.evaluate import read_options
    from trainers.run.exports import find_export
    from trainers.stages import EVALUATORS
    from trainers.versa.evaluation.video_model import Driving, shown_of

    export = find_export(run)
    options = read_options(EVALUATORS["versa.audio_video"], dict(QUICK), shards=str(shards))
    model = VersaVideoModel(export, options, "it")
    shot = load_shots(str(shards), "test", 1, 0.4, SIZE)[0]
    [talk] = load_talks(str(shards), [shot.info.id], 0.4, SIZE, "crop", model.keys[2:])
    label, blink = shown_of(talk)
    whole = Driving(talk.pose, model.hear(talk), label, blink)
    made = model.generate(shot.frames[0], talk, whole, 0)
    assert made.shape == shot.frames.shape
    assert torch.equal(made, model.generate(shot.frames[0], talk, whole, 0))
    from dataclasses import replace

    for name in ("poses", "features", "expression", "blink"):
        other = model.generate(shot.frames[0], talk, replace(whole, **{name: None}), 0)
        assert (made - other).abs().max() > 1e-3, name
    stranger = replace(talk, more={**talk.more, "identity.npz": {"embedding": np.ones((10, 512), np.float16)}})
    assert (made - model.generate(shot.frames[0], stranger, whole, 0)).abs().max() > 1e-3
    assert model.seams(20) == [8, 13, 18]


@pytest.fixture(scope="module")
def heads(folder) -> Path:
    """Two test clips of heads alone, without embeddings of whose they are."""

    def head_alone(clip: int, members: Members) -> Members:
        found = dict(members)
        with np.load(io.BytesIO(found["pose.npz"])) as pose:
            points = pose["keypoints"].copy()
        points[:, HEAD] = np.random.default_rng(clip).uniform(0.3, 0.7, (1, len(HEAD), 2))
        scores = np.zeros(points.shape[:2], np.float32)
        scores[:, HEAD] = 1
        buffer = io.BytesIO()
        np.savez(buffer, keypoints=np.where(scores[..., None] > 0, points, -1).astype(np.float32), scores=scores)
        return list((found | {"pose.npz": buffer.getvalue()}).items())

    write_shards(
        folder / "heads", clips=4, seconds=1.0, keys=KEYS, splits=("train", "test"), video_size=SIZE,
        speakers=("ann", "ann", "bob", "bob"), change=head_alone,
    )  # fmt: skip
    return folder / "heads"


@pytest.mark.paper("VA-16", "VA-17")
def test_heads_alone_are_driven_by_speech_whatever_the_motion_shows(run, heads, told, runs, logged, caplog, tmp_path):  # noqa: F811
    """Their shards do not say whose they are, either: the run's own face network does."""
    from tests.models.test_token2pose import waving

    keypoints, scores = project_joints(waving(40))
    scores[:, HEAD] = 0
    bank = PoseBank.build([Template(torch.arange(40) % CODES, keypoints, scores)], codes=CODES)
    bank.save_pretrained(tmp_path / "bank")
    output = evaluate(
        run=str(run), data=str(heads), drive="audio", motion=str(runs["audio"]), bank=str(tmp_path / "bank"),
        out=tmp_path / "out", **QUICK,
    )  # fmt: skip
    clips = {one["id"] for one in told}
    assert len(clips) == 2
    assert output["poses_fitted"]["model"] == dict.fromkeys(clips, "by usual proportions")
    assert "no_bank" not in output["poses_fitted"], "the projected motion has eyes and ears"
    assert "model, in 2 of 2 clips" in caplog.text
    assert output["identity_by"] == {"model": str(FaceColours.source)}
    for given in told:
        assert (given["driving"].poses[:, FACE, 2] > 0).all()


def test_whose_face_it_is_comes_of_the_shards_of_the_run_s_network_or_of_nobody(
    shards, autoencoder, heads, unseen, monkeypatch, tmp_path
):
    from trainers.evaluate import read_options
    from trainers.run.exports import find_export
    from trainers.stages import EVALUATORS
    from trainers.versa.evaluation import video_model

    asked = []
    monkeypatch.setattr(video_model, "picture_source", lambda *given: asked.append(given[7]) or 1 / 0)

    def identity(run: Path, data: Path, **options: Any) -> tuple[VersaVideoModel, Any]:
        """What the network is told of the first test clip's face."""
        found = read_options(EVALUATORS["versa.audio_video"], {**QUICK, **options}, shards=str(data))
        model = VersaVideoModel(find_export(run), found, "it")
        shot = load_shots(str(data), "test", 1, 0.4, SIZE)[0]
        [talk] = load_talks(str(data), [shot.info.id], 0.4, SIZE, "crop", model.keys[2:])
        with pytest.raises(ZeroDivisionError):
            model.generate(shot.frames[0], talk, video_model.Driving(), 0)
        return model, asked[-1]

    known = video_run(tmp_path / "known", "versa.audio_video", shards, autoencoder, face_network=FaceColours.sha256)
    model, of_shards = identity(known, shards)
    assert "identity.npz" in model.keys
    assert model.identity_by == "identity.npz of the shards"
    model, made = identity(known, shards, identity="colours")
    assert "identity.npz" not in model.keys
    assert model.identity_by == str(FaceColours.source)
    assert torch.cosine_similarity(made, of_shards) > 0.9, "of the fitted frame, by the same network"
    model, none = identity(known, shards, identity="off")
    assert none is None
    assert (model.identity_by, model.conditioned_by) == (None, None)
    _, made = identity(known, heads)
    assert made.shape == (1, 512)
    assert made.any()
    other = video_run(tmp_path / "other", "versa.audio_video", shards, autoencoder, face_network="ab" * 32)
    with pytest.raises(ConfigError, match="identity=colours: other was trained with another face network, one whose"):
        identity(other, shards)


def test_a_judge_that_conditions_is_said_to_be_none():
    from trainers.evaluation.body_figures import conditions

    judges = {"csim": type("Network", (), {"source": type("Source", (), {"sha256": "ab" * 32})})}
    assert conditions(judges, "ab" * 32) == ["csim"]
    assert conditions(judges, FaceColours.sha256) == []
    assert conditions(judges, None) == []


def test_what_cannot_be_measured_is_said(run, shards, autoencoder, runs, tmp_path):  # noqa: F811
    other = video_run(tmp_path / "other", "versa.audio_video", shards, autoencoder, fps=30.0)
    for options, said in (
        ({"drive": "audio"}, "motion=RUN"),
        ({"motion": str(runs["audio"])}, "drive=audio alone"),
        ({"drive": "audio", "motion": str(runs["text"])}, "is a network of versa.text_motion"),
        ({"drive": "audio", "motion": str(runs["audio"]), "motions": {"source": "x"}}, "choose another name"),
        ({"beside": {"truth": str(run)}}, "choose another name"),
        ({"beside": {"text": str(runs["text"])}}, "one of versa.audio_video is needed"),
        ({"beside": {"fast": str(other)}}, "fast was trained at 30"),
        ({"overlap": 7}, "overlap has to be from 0 to 6"),
        ({"splits": ["val"]}, "no clips with"),
    ):
        with pytest.raises(ConfigError, match=said):
            evaluate(run=str(run), **{**QUICK, **options})
