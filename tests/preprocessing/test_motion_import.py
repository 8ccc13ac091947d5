"""`python -m preprocessing.motion`: SMPL-X files, HumanML3D folders and shards into shards with body motion (VA-1)."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datamodules.clip import ClipInfo, decode
from datamodules.shards.index import Index
from datamodules.shards.members import read_members
from models.human.body import OFFSETS, PARENTS
from models.human.motion import from_smplx, recover_joints
from preprocessing.motion import run
from preprocessing.motion.options import Options
from preprocessing.motion.run import import_motion, main
from preprocessing.runs.work import RunError
from preprocessing.speech.pretrained import PretrainedSpeech
from preprocessing.verify import verify
from settings import ConfigError
from tests.models.body_motions import parameters
from tests.preprocessing.body_model_file import write_body_model
from tests.preprocessing.clips import contents
from tests.preprocessing.motion_files import write_grid, write_smplx, write_wav
from tests.speech_models import saved_speech_model

WORDS = [(0.0, 0.5, ""), (0.5, 1.0, "hello"), (1.0, 2.4, "world"), (2.4, 2.9, "")]
PHONES = [(0.5, 0.7, "HH"), (0.7, 1.0, "OW1"), (1.0, 2.4, "AH0"), (2.4, 2.9, "sp")]


def options(data: Path, output: Path, **more) -> Options:
    return Options(input=str(data), output=str(output), progress=False, **more)


def clips_of(folder: Path) -> dict[str, tuple[ClipInfo, dict, dict[str, bytes]]]:
    """Description, values and bytes of every clip by id."""
    found = {}
    for shard in Index.load(folder).shards:
        raw = (folder / shard.name).read_bytes()
        for sample in shard.samples:
            members = read_members(raw[sample.offset : sample.offset + sample.size], sample.id, tuple(sample.keys))
            values = {key: decode(key, data, sample.id) for key, data in members.items()}
            found[sample.id] = (values.pop("clip.json"), values, members)
    return found


@pytest.fixture(scope="module")
def talk(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """One take with sound and words, as BEAT2 has them, imported; and the sound."""
    data = tmp_path_factory.mktemp("beat")
    write_smplx(data / "2_scott_0_1_1.npz", seconds=3.0, seed=1)
    sound = write_wav(data / "2_scott_0_1_1.wav", 3.2)
    write_grid(data / "2_scott_0_1_1.TextGrid", 2.9, {"words": WORDS, "phones": PHONES})
    output = tmp_path_factory.mktemp("made") / "out"
    result = import_motion(options(data, output, language="en", licence="made up"))
    assert result["clips"] == 1
    assert not result["drops"]
    assert [warning["warning"] for warning in result["warnings"]] == [
        "the sound lasts 3.20 s, the motion lasts 2.95 s: what stands behind the motion's end is left out"
    ]
    return output, sound


@pytest.mark.paper("VA-1")
def test_a_take_becomes_a_clip_with_motion_sound_words_and_features(talk):
    output, sound = talk
    assert list(verify(output)) == []
    ((info, values, _),) = clips_of(output).values()
    # All of the motion (3.0 s, 30 fps); sound (3.2 s) is cut to it, words (2.9 s) end where they end.
    assert (info.fps, info.frames, info.start, info.end) == (20.0, 59, 0.0, 2.95)
    assert (info.speaker, info.language, info.licence) == ("scott", "en", "made up")
    wanted = from_smplx(parameters(3.0, 30.0, 1), 30.0)
    np.testing.assert_allclose(values["motion.npz"]["motion"], wanted[:59], atol=1e-4)
    assert info.samples == len(values["audio.flac"]) == round(59 / 20 * 16000)
    np.testing.assert_allclose(values["audio.flac"], sound[: info.samples], atol=2e-4)
    assert values["speech.npz"]["handcrafted"].shape == (59, 35)
    assert [(c.start, c.end, c.text) for c in info.captions] == [(0.5, 1.0, "hello"), (1.0, 2.4, "world")]
    assert info.extra["phonemes"][:2] == [
        {"name": "HH", "start": 0.5, "end": 0.7, "stress": 0},
        {"name": "OW", "start": 0.7, "end": 1.0, "stress": 2},
    ]
    assert len(info.extra["phonemes"]) == 3
    assert info.extra["captions"] == "words"
    assert len(info.sha256) == 64


def test_the_index_has_the_statistics_of_the_training_split(tmp_path):
    write_smplx(tmp_path / "in" / "a.npz", 2.0, seed=1)
    write_smplx(tmp_path / "in" / "b.npz", 3.0, seed=2)
    (tmp_path / "in" / "train_test_split.csv").write_text("id,type\na,train\nb,test\n")
    import_motion(options(tmp_path / "in", tmp_path / "out"))
    statistics = Index.load(tmp_path / "out").statistics["body_motion"]
    motion = next(v["motion.npz"]["motion"] for i, v, _ in clips_of(tmp_path / "out").values() if i.split == "train")
    assert len(motion) == 39
    np.testing.assert_allclose(statistics["mean"], motion.mean(0), atol=1e-5)
    np.testing.assert_allclose(statistics["std"], motion.astype(np.float64).std(0), rtol=1e-4, atol=2e-4)
    assert min(statistics["std"]) > 0
    assert Index.load(tmp_path / "out").fps == 20


@pytest.mark.paper("VA-5")
def test_layers_of_a_pretrained_speech_network_beside_the_hand_crafted_features(tmp_path):
    saved_speech_model(tmp_path / "wav2vec", "Wav2Vec2")
    for name, seconds in (("a", 2.0), ("b", 3.1)):
        write_smplx(tmp_path / "in" / f"{name}.npz", seconds, seed=3)
        write_wav(tmp_path / "in" / f"{name}.wav", seconds)
    words = [f"input={tmp_path / 'in'}", "progress=false"]
    words.append(f"speech=[handcrafted,{{name: transformers, model: {tmp_path / 'wav2vec'}, layers: [2]}}]")
    assert main([*words, f"output={tmp_path / 'out'}"]) == 0
    assert list(verify(tmp_path / "out")) == []
    found = clips_of(tmp_path / "out").values()
    assert len(found) == 2
    for info, values, _ in found:
        speech = values["speech.npz"]
        assert speech["handcrafted"].shape == (info.frames, 35)
        assert speech["layers"].shape == (1, round(info.frames / 20 * 50), 16)
        assert speech["layer_ids"].tolist() == [2]
        repeated = PretrainedSpeech(str(tmp_path / "wav2vec"), layers=[2])
        layers = repeated.features(values["audio.flac"], speech["layers"].shape[1])
        np.testing.assert_array_equal(layers, speech["layers"])


def test_a_speech_network_that_is_not_there_stops_before_anything_is_written(tmp_path, capsys):
    write_smplx(tmp_path / "in" / "a.npz")
    words = [f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}"]
    assert main([*words, f"speech=[{{name: transformers, model: {tmp_path / 'nowhere'}}}]"]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_long_take_is_cut_into_equal_clips_that_follow_on_each_other(tmp_path):
    write_smplx(tmp_path / "in" / "long.npz", 65.0, seed=3)
    sound = write_wav(tmp_path / "in" / "long.wav", 64.0)
    words = [(i * 2.0, i * 2.0 + 1.0, f"w{i}") for i in range(32)]
    write_grid(tmp_path / "in" / "long.TextGrid", 64.5, {"words": words})
    output = import_motion(options(tmp_path / "in", tmp_path / "out", speech=[], when_shorter="cut"))
    clips = [(info, values) for info, values, _ in clips_of(tmp_path / "out").values()]
    assert [info.frames for info, _ in clips] == [427, 426, 427]
    assert output["frames"] == 1280
    assert [info.start for info, _ in clips] == [0.0, 21.35, 42.65]
    whole = np.concatenate([values["motion.npz"]["motion"] for _, values in clips])
    np.testing.assert_allclose(whole, from_smplx(parameters(65.0, 30.0, 3), 30.0)[:1280], atol=2e-3)
    np.testing.assert_allclose(np.concatenate([v["audio.flac"] for _, v in clips]), sound, atol=2e-4)
    info = clips[1][0]
    assert {c.text: round(c.start + info.start, 4) for c in info.captions if c.text in ("w12", "w20")} == {
        "w12": 24.0, "w20": 40.0,
    }  # fmt: skip
    assert "speech.npz" not in clips[0][1]


@pytest.mark.parametrize("up", ["auto", "z"])
def test_amass_stands_on_its_feet(tmp_path, up):
    write_smplx(tmp_path / "in" / "set" / "ann" / "walk_stageii.npz", seed=4, up="z", mocap_frame_rate=None,
                mocap_framerate=np.array(30.0))  # fmt: skip
    import_motion(options(tmp_path / "in", tmp_path / "out", up=up))
    ((info, values, _),) = clips_of(tmp_path / "out").values()
    wanted = from_smplx(parameters(3.0, 30.0, 4), 30.0)
    np.testing.assert_allclose(values["motion.npz"]["motion"], wanted, atol=1e-4)
    assert info.speaker == "set/ann"
    assert info.extra == {"frame_rate": 30.0, "up": "z"}
    assert info.samples is None


def test_with_a_model_file_everybody_has_bones_of_their_own(tmp_path, capsys):
    model = write_body_model(tmp_path / "SMPLX_NEUTRAL.npz")
    betas = np.zeros(300, np.float32)
    betas[:3] = [2.0, -1.0, 1.5]
    write_smplx(tmp_path / "in" / "a.npz", 1.5, betas=betas)
    import_motion(options(tmp_path / "in", tmp_path / "out", model=model))
    with np.load(model) as file:
        skin = file["v_template"] + file["shapedirs"][..., :3] @ betas[:3]
        rest = (file["J_regressor"] @ skin)[:22]
    ((_, values, _),) = clips_of(tmp_path / "out").values()
    joints = recover_joints(values["motion.npz"]["motion"])
    for joint, parent in enumerate(PARENTS[1:], 1):
        length = np.linalg.norm(joints[:, joint] - joints[:, parent], axis=-1)
        np.testing.assert_allclose(length, np.linalg.norm(rest[joint] - rest[parent]), atol=1e-4)
    stated = np.linalg.norm(OFFSETS[1:].numpy(), axis=-1)
    own = np.linalg.norm(rest[1:] - rest[list(PARENTS[1:])], axis=-1)
    assert np.abs(own - stated).max() > 0.005, "this body is another than the stated one"
    with pytest.raises(ConfigError, match="nowhere"):
        import_motion(options(tmp_path / "in", tmp_path / "no", model=tmp_path / "nowhere.npz"))
    assert not (tmp_path / "no").exists()


BAD = {
    "unreadable": lambda path: path.write_bytes(b"PK\x03\x04 broken"),
    "missing_key": lambda path: write_smplx(path, trans=None),
    "wrong_shape": lambda path: write_smplx(path, poses=np.zeros((90, 63), np.float32)),
    "not_finite": lambda path: write_smplx(path, trans=np.full((90, 3), np.nan)),
    "wrong_unit": lambda path: write_smplx(path, trans=np.linspace(0, 900, 270).reshape(90, 3)),
    "wrong_rate": lambda path: write_smplx(path, mocap_frame_rate=np.array(0)),
    "unknown_up": lambda path: write_smplx(path, poses=np.tile([np.pi, *np.zeros(164)], (90, 1))),
    "too_short": lambda path: write_smplx(path, poses=np.zeros((1, 165)), trans=np.zeros((1, 3))),
}


def test_what_cannot_be_used_is_named_and_counted_and_the_rest_goes_on(tmp_path):
    for reason, write in BAD.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        write(tmp_path / "in" / f"{reason}.npz")
    write_smplx(tmp_path / "in" / "no_rate.npz", mocap_frame_rate=None)
    write_smplx(tmp_path / "in" / "short.npz", 0.5)
    write_smplx(tmp_path / "in" / "good.npz", 2.0)
    (tmp_path / "in" / "garbage.npz").write_bytes(b"PK garbage")
    np.savez(tmp_path / "in" / "objects.npz", poses=np.array([{}], object))
    (tmp_path / "in" / "good.wav").write_bytes(b"no sound")
    (tmp_path / "in" / "good.TextGrid").write_text("no grid")
    output = import_motion(options(tmp_path / "in", tmp_path / "out"))
    assert output["clips"] == 1
    assert output["files"] == 13
    named = {entry["file"].removesuffix(".npz"): entry["reason"] for entry in output["drops"]}
    assert named == {reason: reason for reason in BAD} | {
        "no_rate": "missing_key", "short": "too_short", "garbage": "unreadable", "objects": "unreadable",
    }  # fmt: skip
    assert "allow_pickle" not in str(output["drops"]), "nobody is told to run what stands in a file"
    assert output["dropped"]["missing_key"] == output["dropped"]["too_short"] == 2
    assert [entry["file"] for entry in output["warnings"]] == ["good.npz", "good.npz"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == output
    assert list(verify(tmp_path / "out")) == []


def test_nothing_to_import_is_a_clear_error(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    with pytest.raises(ConfigError, match=r"no \.npz file"):
        import_motion(options(tmp_path / "in", tmp_path / "out"))
    with pytest.raises(ConfigError, match="does not exist"):
        import_motion(options(tmp_path / "nowhere", tmp_path / "out"))
    assert main([f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}"]) == 2
    assert "no .npz file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}", "formt=smplx"])
    assert "did you mean 'format'" in capsys.readouterr().err


def test_a_stopped_import_goes_on_and_gives_the_same_bytes(tmp_path, monkeypatch):
    for number in range(5):
        write_smplx(tmp_path / "in" / f"t{number}.npz", 1.2, seed=number)
    import_motion(options(tmp_path / "in", tmp_path / "whole", files_per_shard=2))
    true_plan, read = run.make_plan, []

    def stopping(opts):
        plan = true_plan(opts)

        def one(job):
            read.append(job[0].name)
            if len(read) == 4:
                raise KeyboardInterrupt
            return plan.read(job)

        return type(plan)(plan.shards, one, plan.fps, plan.made_of)

    monkeypatch.setattr(run, "make_plan", stopping)
    with pytest.raises(KeyboardInterrupt):
        import_motion(options(tmp_path / "in", tmp_path / "out", files_per_shard=2))
    assert not (tmp_path / "out" / "index.json").exists()
    assert any("not finished" in fault for fault in verify(tmp_path / "out"))
    read += ["from here on nothing stops it"]
    import_motion(options(tmp_path / "in", tmp_path / "out", files_per_shard=2))
    assert read[5:] == ["t2.npz", "t3.npz", "t4.npz"], "the first shard is not made again"
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert list(verify(tmp_path / "out")) == []
    with pytest.raises(RunError, match="another options"):
        import_motion(options(tmp_path / "in", tmp_path / "out", files_per_shard=2, language="en"))
    import_motion(options(tmp_path / "in", tmp_path / "out", files_per_shard=2, language="en", restart=True))


def test_the_command_with_workers_gives_the_same_bytes(tmp_path, slow_clock, capsys):
    for number in range(3):
        write_smplx(tmp_path / "in" / f"t{number}.npz", 1.2, seed=number)
    assert main([f"input={tmp_path / 'in'}", f"output={tmp_path / 'one'}"]) == 0
    assert "files of motion  2/3  ETA " in capsys.readouterr().err
    done = subprocess.run(
        [sys.executable, "-m", "preprocessing.motion", f"input={tmp_path / 'in'}", f"output={tmp_path / 'two'}",
         "workers=1"],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 files, 3 clips" in done.stdout
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_short_sound_cuts_nothing_unless_asked_and_capital_endings_are_found(tmp_path):
    write_smplx(tmp_path / "in" / "take.npz", 4.0, seed=3)
    sound = write_wav(tmp_path / "in" / "take.wav", 2.0)
    (tmp_path / "in" / "take.wav").rename(tmp_path / "in" / "take.WAV")
    for how, frames in (("keep", 80), ("cut", 40)):
        output = import_motion(options(tmp_path / "in", tmp_path / how, speech=[], when_shorter=how))
        assert abs(output["frames"] - frames) <= 1
        assert ["the sound lasts 2.00 s, the motion lasts" in entry["warning"] for entry in output["warnings"]] == [
            True
        ]
        ((_, values, _),) = clips_of(tmp_path / how).values()
        np.testing.assert_allclose(values["audio.flac"][: len(sound)], sound[: len(values["audio.flac"])], atol=2e-4)
        assert not values["audio.flac"][len(sound) :].any()


@pytest.mark.parametrize(
    ("more", "reason", "said"),
    [
        ({"poses": np.zeros((90, 165), np.int64)}, "wrong_shape", "int64, float"),
        ({"betas": np.full(300, np.nan)}, "not_finite", "betas"),
        ({"poses": np.full((90, 165), 30.0)}, "wrong_unit", "degrees"),
        ({"trans": np.full((90, 3), 900.0)}, "wrong_unit", "metres"),
    ],
)
def test_numbers_of_another_kind_or_unit_are_left_out(tmp_path, more, reason, said):
    write_smplx(tmp_path / "in" / "a.npz", **more)
    (entry,) = import_motion(options(tmp_path / "in", tmp_path / "out", speech=[]))["drops"]
    assert entry["reason"] == reason
    assert said in entry["detail"]
