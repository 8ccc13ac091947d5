"""The demos' plans: which commands they start, with which words, and what they say where they cannot."""

import importlib
import itertools
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from datamodules.media.files import SAMPLE_RATE, write_video
from datamodules.shards.index import Index
from tests.shards import write_shards
from trainers.demos import latents as demo_latents
from trainers.demos import square as demo_square
from trainers.demos import steps as demo_steps
from trainers.demos import videos as demo_videos
from trainers.evaluation.comparison import FEWEST
from trainers.implicit_motion import demo as demo_portrait
from trainers.mmgt import demo, demo_video
from trainers.paha import demo as demo_paha
from trainers.versa import demo_video as demo_versa_video
from trainers.versa.demo import TEXTS


class Started(NamedTuple):
    """A command that a demo would have started."""

    module: str
    words: list[str]

    def value(self, key: str) -> str | None:
        """What `key=` is given, None where it is not."""
        return next((word.split("=", 1)[1] for word in self.words if word.startswith(f"{key}=")), None)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Started]:
    """Commands in the order of their start; nothing is run, and a clip is held out."""
    commands: list[Started] = []

    def run_step(title: str, module: str, words: list[str], threads: int = 1) -> None:
        commands.append(Started(module, list(words)))

    def speech_and_person(shards: Path, clip: tuple[str, str], output: Path) -> tuple[Path, Path, Path]:
        return output / "speech.wav", output / "first_pose.npz", output / "person.png"

    for module in (demo_steps, demo_square, demo_latents):
        monkeypatch.setattr(module, "run_step", run_step)
    for module in (demo_square, demo):
        monkeypatch.setattr(module, "speech_and_person", speech_and_person)
    for module in (demo, demo_portrait, demo_video, demo_paha, demo_versa_video):
        monkeypatch.setattr(module, "run_step", run_step)
        monkeypatch.setattr(module, "held_out", lambda shards, scale=None: ("test", "a"))
        monkeypatch.setattr(module, "show_in_report", lambda run, video: None)
    monkeypatch.setattr(demo_videos, "_look", lambda path: (96.0, (640, 360)))  # the face, and an upright video
    return commands


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    write_video(folder / "a.mp4", iter(np.zeros((2, 64, 36, 3), np.uint8)), 25)
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((64, 36, 3), np.uint8)).save(tmp_path / "me.png")
    return tmp_path / "me.png"


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    (tmp_path / "mine.wav").write_bytes(b"heard by nobody here")
    return tmp_path / "mine.wav"


def by_module(commands: list[Started], module: str) -> list[Started]:
    return [command for command in commands if command.module == module]


def test_a_portrait_is_made_in_the_order_in_which_its_parts_need_each_other(started, tmp_path):
    out = tmp_path / "out"
    assert demo_portrait.demo_portrait(output=out, base_steps=40, motion_steps=30) == out / "generated.mp4"
    assert [command.module for command in started] == [
        "preprocessing.synthetic", "preprocessing.run", "trainers.fit", "preprocessing.features", "trainers.fit",
        "trainers.animate", "trainers.evaluate", "trainers.evaluate", "trainers.report", "trainers.report",
    ]  # fmt: skip
    base, motion = by_module(started, "trainers.fit")
    features = by_module(started, "preprocessing.features")[0]
    animate = by_module(started, "trainers.animate")[0]
    assert base.value("data.shards") == features.value("input") == str(out / "shards")
    assert base.value("run") == features.value("network") == motion.value("stage.base") == str(out / "base")
    assert motion.value("data.shards") == features.value("output") == str(out / "features")
    assert (base.value("trainer.max_steps"), motion.value("trainer.max_steps")) == ("40", "30")
    assert animate.value("run") == motion.value("run") == str(out / "motion")
    # A clip's own square frame: nobody is looked for, nothing is cut.
    assert (animate.value("image"), animate.value("audio")) == (str(out / "person.png"), str(out / "speech.wav"))
    assert (animate.value("crop"), animate.value("pose")) == ("none", str(out / "first_pose.npz"))
    measured = by_module(started, "trainers.evaluate")
    assert [command.value("run") for command in measured] == [str(out / "base"), str(out / "motion")]
    assert measured[0].value("data") == str(out / "shards")


def test_a_video_is_made_in_the_order_in_which_its_parts_need_each_other(started, tmp_path):
    out = tmp_path / "out"
    assert demo_video.demo_video(output=out, pose_steps=40, audio_steps=30) == out / "generated.mp4"
    assert [command.module for command in started] == [
        "preprocessing.synthetic", "preprocessing.run", "trainers.fit", "preprocessing.features",
        *["trainers.fit"] * 3, "trainers.animate", *["trainers.evaluate"] * 2, *["trainers.report"] * 4,
    ]  # fmt: skip
    autoencoder, smga, pose, speaking = by_module(started, "trainers.fit")
    latents = by_module(started, "preprocessing.features")[0]
    animate = by_module(started, "trainers.animate")[0]
    assert (
        autoencoder.value("data.shards") == smga.value("data.shards") == latents.value("input") == str(out / "shards")
    )
    assert autoencoder.value("run") == latents.value("network") == pose.value("stage.autoencoder")
    assert pose.value("data.shards") == speaking.value("data.shards") == latents.value("output") == str(out / "latents")
    assert (pose.value("run"), pose.value("trainer.max_steps")) == (speaking.value("stage.base"), "40")
    assert speaking.value("trainer.max_steps") == "30"
    assert speaking.value("stage.autoencoder") == autoencoder.value("run")
    assert (animate.value("run"), animate.value("smga")) == (speaking.value("run"), smga.value("run"))
    assert (animate.value("image"), animate.value("pose")) == (str(out / "person.png"), str(out / "first_pose.npz"))
    measured = by_module(started, "trainers.evaluate")
    assert [command.value("run") for command in measured] == [pose.value("run"), speaking.value("run")]
    assert [command.value("drive") for command in measured] == [None, "speech_only"]
    assert {command.value("splits") for command in measured} == {"[test]"}, "of people that training saw"
    # Enough clips for a verdict.
    clips = int(by_module(started, "preprocessing.synthetic")[0].value("test_clips")) * 4
    assert {command.value("clips") for command in measured} == {"10"}
    assert clips >= 10


def test_classifiers_learn_from_what_the_network_made_before_they_guide_it(started, tmp_path):
    out = tmp_path / "out"
    assert demo_paha.demo_paha(output=out, univdm_steps=40, classifier_steps=30) == out / "guided.mp4"
    assert [command.module for command in started] == [
        "preprocessing.synthetic", "preprocessing.run", "trainers.fit", "preprocessing.features", "trainers.fit",
        "preprocessing.negatives", *["trainers.fit"] * 2, *["trainers.animate"] * 2, *["trainers.evaluate"] * 3,
        *["trainers.report"] * 4,
    ]  # fmt: skip
    _, univdm, face, rest = by_module(started, "trainers.fit")
    pairs = by_module(started, "preprocessing.negatives")[0]
    assert univdm.value("trainer.max_steps") == "40"
    assert (univdm.value("data.shards"), pairs.value("input")) == (str(out / "latents"), str(out / "latents"))
    assert pairs.value("run") == face.value("stage.univdm") == rest.value("stage.univdm") == univdm.value("run")
    assert face.value("data.shards") == rest.value("data.shards") == pairs.value("output")
    plain, guided = by_module(started, "trainers.animate")
    assert (plain.value("guide"), guided.value("guide")) == (None, "dg")
    assert (guided.value("pce_face"), guided.value("pce_nonface")) == (face.value("run"), rest.value("run"))
    assert plain.value("seed") == guided.value("seed"), "the same noise"
    *classifiers, video = by_module(started, "trainers.evaluate")
    assert {command.value("data") for command in classifiers} == {str(out / "pairs")}
    assert (video.value("run"), video.value("guides")) == (str(out / "univdm"), "[none,sg,dg]")


@pytest.fixture
def motion_half(started: list[Started], monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders in which the motion half would have been trained; it leaves four seconds of speech."""
    made: list[Path] = []
    monkeypatch.setattr(demo_versa_video, "demo_versa", lambda output, workers: made.append(output))
    monkeypatch.setattr(demo_versa_video, "speech_and_person", lambda shards, output: (output / "speech.wav", None))
    monkeypatch.setattr(demo_versa_video, "read_audio", lambda path: np.zeros(4 * SAMPLE_RATE, np.float32))
    return made


def test_a_person_who_acts_is_made_by_the_motion_half_and_both_steps_of_the_video(started, motion_half, tmp_path):
    out = tmp_path / "out"
    assert demo_versa_video.demo_versa_video(output=out, pose_steps=40, audio_steps=30) == out / "generated.mp4"
    assert motion_half == [out / "motion"]
    assert [command.module for command in started] == [
        "preprocessing.synthetic_actors", "preprocessing.run", "trainers.fit", *["preprocessing.features"] * 2,
        *["trainers.fit"] * 2, "trainers.animate", *["trainers.evaluate"] * 2, *["trainers.report"] * 3,
    ]  # fmt: skip
    actors, kept = started[:2]
    assert (actors.value("size"), kept.value("size")) == ("96", "96")
    assert kept.value("quality.require_speech") == "false", "some act in silence"
    autoencoder, pose, speaking = by_module(started, "trainers.fit")
    latents, faces = by_module(started, "preprocessing.features")
    assert autoencoder.value("run") == latents.value("network") == pose.value("stage.autoencoder")
    assert faces.value("input") == latents.value("output")
    assert pose.value("data.shards") == speaking.value("data.shards") == faces.value("output")
    assert (pose.value("run"), pose.value("trainer.max_steps")) == (speaking.value("stage.base"), "40")
    assert speaking.value("trainer.max_steps") == "30"
    animate = by_module(started, "trainers.animate")[0]
    assert (animate.value("run"), animate.value("motion")) == (speaking.value("run"), str(out / "motion/audio_motion"))
    assert animate.value("audio") == str(out / "motion/speech.wav")
    assert animate.value("pose") == str(out / "first_pose.npz")
    told = [word for before, word in itertools.pairwise(animate.words) if before == "--text"]
    assert told == list(TEXTS[:1]), "a text that reaches beyond the speech would be refused"
    assert [command.value("run") for command in by_module(started, "trainers.evaluate")] == [
        str(out / "pose_video"), str(out / "audio_video"),
    ]  # fmt: skip


def test_a_clip_of_a_scale_is_held_out_where_clips_say_theirs(tmp_path):
    scales = ("head", "half", "half", "whole")
    write_shards(
        tmp_path, clips=4, seconds=0.4, splits=("train", "train", "test", "test"), keys=("audio.flac",),
        info=lambda number: {"extra": {"scale": scales[number]}},
    )  # fmt: skip
    samples = {sample.id: sample for shard in Index.load(tmp_path).shards for sample in shard.samples}
    ids = sorted(samples)
    assert demo_steps.held_out(tmp_path, "half") == ("test", ids[2])
    assert demo_steps.held_out(tmp_path, "whole") == ("test", ids[3])
    assert demo_steps.held_out(tmp_path, "head") == ("train", ids[0])
    with pytest.raises(demo_steps.DemoError, match="no clip was kept"):
        demo_steps.held_out(tmp_path, "hand")


def test_a_finished_motion_half_is_taken_as_it_is(started, motion_half, tmp_path):
    demo_versa_video.demo_versa_video(output=tmp_path / "out", motion=tmp_path / "before")
    assert not motion_half
    assert by_module(started, "trainers.animate")[0].value("bank") == str(tmp_path / "before" / "bank")


def test_ones_own_picture_is_cut_for_the_video_and_looked_at(started, picture, speech, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_videos, "cut_portrait", lambda image, share, output: output)
    out = tmp_path / "out"
    demo_video.demo_video(output=out, image=picture, audio=speech)
    animate = by_module(started, "trainers.animate")[0]
    assert (animate.value("image"), animate.value("audio")) == (str(out / "portrait.png"), str(speech))
    assert animate.value("pose") is None, "the person in it is looked for"


def test_ones_own_videos_picture_and_speech_make_the_portrait(started, videos, picture, speech, tmp_path, monkeypatch):
    def cut(image: Path, share: float, output: Path) -> Path:
        assert (image, share) == (picture, demo_square.FACE)
        return output

    monkeypatch.setattr(demo_videos, "cut_portrait", cut)
    out = tmp_path / "out"
    demo_portrait.demo_portrait(output=out, videos=str(videos), image=picture, audio=speech)
    assert not by_module(started, "preprocessing.synthetic")
    shards = by_module(started, "preprocessing.run")[0]
    assert (shards.value("input"), shards.value("pose")) == (str(videos), None), "people are looked for"
    assert shards.value("crop") == "{name: square, face: 0.35}"
    assert shards.value("size") == "256", "of the shorter side"
    animate = by_module(started, "trainers.animate")[0]
    assert (animate.value("image"), animate.value("audio")) == (str(out / "portrait.png"), str(speech))
    assert (animate.value("crop"), animate.value("pose")) == ("none", None)


def test_ones_own_videos_keep_their_shape_in_the_demo(started, videos, picture, speech, tmp_path):
    out = tmp_path / "out"
    demo.demo(output=out, videos=str(videos))
    demo.demo(output=out, videos=str(videos), size=200, image=picture, audio=speech)
    first, second = by_module(started, "preprocessing.run")
    assert (first.value("size"), first.value("crop"), first.value("pose")) == ("448", None, None)
    assert second.value("size") == "200"
    first, second = by_module(started, "trainers.animate")
    # The first frame tells the video's shape, the pose who stands where.
    assert (first.value("pose"), first.value("image")) == (str(out / "first_pose.npz"), str(out / "person.png"))
    assert (second.value("pose"), second.value("image"), second.value("audio")) == (None, str(picture), str(speech))


def test_drawn_people_are_not_looked_for(started, tmp_path):
    demo.demo(output=tmp_path / "out", speakers=2, clips_per_speaker=3, steps=7)
    synthetic, shards = started[:2]
    assert (synthetic.value("speakers"), synthetic.value("clips_per_speaker")) == ("2", "3")
    assert shards.value("input") == str(Path(synthetic.value("output") or "") / "manifest.jsonl")
    assert (shards.value("pose"), shards.value("face"), shards.value("size")) == ("sidecar", "keypoints", "256")
    assert by_module(started, "trainers.fit")[0].value("trainer.max_steps") == "7"
    assert synthetic.value("test_clips") is None, "of three videos of each person one is enough to give away"


def test_the_demo_measures_as_many_clips_as_a_verdict_needs(started, tmp_path):
    demo.demo(output=tmp_path / "out")
    words = started[0]
    assert int(words.value("test_clips") or 0) * int(words.value("speakers") or 0) >= FEWEST
    assert int(words.value("clips_per_speaker") or 0) >= FEWEST, "all videos of a speaker nobody trains on are tests"
    assert int(by_module(started, "trainers.evaluate")[0].value("clips") or 0) >= FEWEST


def test_what_is_measured_already_is_not_measured_again(started, tmp_path):
    run = tmp_path / "out" / "run"
    for age, name in ((60, "export/model.safetensors"), (30, "evaluation/figures.json")):
        (run / name).parent.mkdir(parents=True)
        (run / name).write_text("")
        os.utime(run / name, (time.time() - age,) * 2)
    demo.demo(output=tmp_path / "out")
    assert not by_module(started, "trainers.evaluate")
    os.utime(run / "export" / "model.safetensors")  # trained on since
    demo.demo(output=tmp_path / "out")
    assert by_module(started, "trainers.evaluate")


@pytest.mark.parametrize("make", [demo.demo, demo_portrait.demo_portrait])
@pytest.mark.parametrize("key", ["image", "audio"])
def test_a_file_that_is_not_there_is_said_before_anything_is_begun(make, key, started, tmp_path):
    with pytest.raises(demo_steps.DemoError, match=f"{key}=.*nothing.wav: no such file"):
        make(output=tmp_path / "out", **{key: tmp_path / "nothing.wav"})
    assert not started


@pytest.mark.parametrize("module", [demo, demo_portrait])
def test_what_fails_is_one_line_and_a_status(module, started, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        module.main([f"output={tmp_path / 'out'}", f"videos={tmp_path / 'nothing'}"])
    assert end.value.code == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("demo: ")
    assert "nothing" in said
    assert "\n" not in said


@pytest.mark.slow  # imports of all of them
@pytest.mark.parametrize(
    "make",
    [
        demo.demo, demo_portrait.demo_portrait, demo_video.demo_video, demo_paha.demo_paha,
        partial(demo_versa_video.demo_versa_video, motion=Path("motion")),
    ],
)  # fmt: skip
def test_every_command_knows_its_words(make: Callable[..., Path], started, motion_half, videos, tmp_path, capsys):
    make(output=tmp_path / "out")
    make(output=tmp_path / "out", videos=str(videos))
    for command in started:
        module = importlib.import_module(command.module)
        if hasattr(module, "__path__"):
            module = importlib.import_module(f"{command.module}.__main__")
        with pytest.raises(SystemExit) as end:
            module.main([*command.words, "--print-config"])
        assert end.value.code in (None, 0), command
        capsys.readouterr()


def test_a_step_that_fails_names_its_command(capfd):
    with pytest.raises(demo_steps.DemoError, match=r"`python -m json\.tool` ended with status"):
        demo_steps.run_step("Reading nothing", "json.tool", ["nothing.json"])
    assert "== Reading nothing" in capfd.readouterr().out
