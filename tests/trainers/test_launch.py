"""What the launcher makes of a launch file, with an sbatch that only writes down what it is told."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cospeech import shipped
from trainers.launch import main
from trainers.launching.chain import LaunchContext, chain
from trainers.launching.options import PreprocessOptions, SlurmOptions
from trainers.run.folder import RunFolder, read_config

ROOT = Path(__file__).resolve().parents[2]

SBATCH = """\
#!/bin/bash
echo "$@" >>"$FAKE/calls"
script=${@: -1}
case $script in *"${FAKE_REFUSES:-nothing}"*) echo "sbatch: error: invalid partition" >&2; exit 1 ;; esac
echo "$((100 + $(wc -l <"$FAKE/calls")));cluster"
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts an sbatch and a scancel in front; the file has their command lines."""
    fake = tmp_path / "fake"
    fake.mkdir()
    for name, text in {"sbatch": SBATCH, "scancel": '#!/bin/bash\necho "scancel $*" >>"$FAKE/calls"\n'}.items():
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    # Nothing is in the queue.
    (fake / "squeue").symlink_to(shutil.which("true") or "/bin/true")
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(fake))
    return fake / "calls"


def toy(**more: Any) -> dict[str, Any]:
    overrides = {"stage": {"name": "toy"}, "data": {"name": "toy"}, "trainer": {"max_steps": 2}}
    return {"overrides": overrides | more.pop("overrides", {}), **more}


def launch_file(folder: Path, **sections: Any) -> Path:
    file = folder / "launch.yaml"
    file.write_text(yaml.safe_dump({"module": "tests.trainers.toy"} | sections, sort_keys=False))
    return file


def refused(capsys: pytest.CaptureFixture[str], file: Path, *words: str) -> str:
    """The message about a launch file that is not taken."""
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(["toy", "--config", str(file), "--dry-run", *words]))
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("config error: ")
    assert "Traceback" not in err
    return err


def test_launch_writes_all_that_the_jobs_need_and_submits_them_in_order(
    tmp_path: Path, calls: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy.yaml").write_text("stage: {name: toy, network: {width: 4}}\ndata: {name: toy}\n")
    stages = {
        "first": {"config": "toy.yaml", "overrides": {"trainer": {"max_steps": 2}}},
        "second": toy(overrides={"init_from": "{first}"}, slurm={"nodes": 2, "gpus_per_node": 4, "time": "1-12"}),
    }
    preprocess = {"tasks": 5, "at_once": 2, "overrides": {"input": "videos"}}
    slurm = {"partition": "gpu", "signal": 120, "env": {"NCCL_DEBUG": "INFO it"}, "setup": ["module load cuda"]}
    file = launch_file(tmp_path, preprocess=preprocess, stages=stages, slurm=slurm | {"extra": ["--exclusive"]})
    folder = tmp_path / "out"
    assert main(["toy", "--config", str(file), f"folder={folder}"]) == 0

    said = capfd.readouterr().out
    assert f"launch folder: {folder}" in said
    assert "preprocess: job 101\nfirst: job 102 after 101\nsecond: job 103 after 102\n" in said
    assert (folder / "jobs.txt").read_text() == "preprocess 101\nfirst 102\nsecond 103\n"
    submitted = calls.read_text().splitlines()
    assert submitted[0] == f"--parsable {folder}/preprocess/preprocess.sbatch"
    assert submitted[2] == (f"--parsable --dependency=afterok:102 --kill-on-invalid-dep=yes {folder}/second/fit.sbatch")

    array = (folder / "preprocess" / "preprocess.sbatch").read_text()
    assert "#SBATCH --array=0-4%2\n" in array
    assert "gpus-per-node" not in array
    assert yaml.safe_load((folder / "preprocess" / "config.yaml").read_text())["output"] == str(folder / "shards")
    script = (folder / "second" / "fit.sbatch").read_text()
    for line in (
        "#SBATCH --partition=gpu", "#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=4", "#SBATCH --gpus-per-node=4",
        "#SBATCH --time=1-12:00:00", "#SBATCH --signal=USR1@120", "#SBATCH --requeue", "#SBATCH --exclusive",
        "export NCCL_DEBUG='INFO it'", "module load cuda", f"export PYTHONPATH={folder}/code",
    ):  # fmt: skip
        assert f"{line}\n" in script
    config = read_config(RunFolder(folder / "second"))
    assert config is not None
    assert config["init_from"] == str(folder / "first")
    assert config["trainer"]["devices"] == 4
    assert config["trainer"]["num_nodes"] == 2
    first = read_config(RunFolder(folder / "first"))
    assert first is not None
    assert first["stage"]["network"]["width"] == 4

    copied = {str(path.relative_to(folder / "code")) for path in (folder / "code").rglob("*") if path.is_file()}
    followed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert copied == {name for name in followed.splitlines() if (ROOT / name).exists()} | {".snapshot"}
    for path in folder.rglob("*.sbatch"):
        assert subprocess.run(["bash", "-n", str(path)]).returncode == 0


def test_dry_run_needs_no_slurm_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainers.launch.shutil.which", lambda name: None)
    file = launch_file(tmp_path, stages={"one": toy()})
    # The word after the flag is one of its own.
    words = ["toy", "--config", str(file), "--dry-run", f"folder={tmp_path / 'out'}"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert f"##### {tmp_path}/out/one/fit.sbatch\n#!/bin/bash\n" in out
    assert f"submit one {tmp_path}/out/one/fit.sbatch" in out
    assert not (tmp_path / "out").exists()
    assert main([word for word in words if word != "--dry-run"]) == 2
    assert "there is no sbatch here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_chain_that_slurm_takes_half_is_taken_back_and_can_be_submitted_again(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = launch_file(tmp_path, stages={"one": toy(), "two": toy()})
    folder = tmp_path / "out"
    monkeypatch.setenv("FAKE_REFUSES", "two/fit.sbatch")
    assert main(["toy", "--config", str(file), f"folder={folder}"]) == 1
    err = capfd.readouterr().err
    assert "invalid partition" in err
    assert f"Then: bash {folder}/submit.sh" in err
    assert calls.read_text().splitlines()[-1] == "scancel 101"
    monkeypatch.delenv("FAKE_REFUSES")
    assert subprocess.run(["bash", str(folder / "submit.sh")]).returncode == 0
    assert (folder / "jobs.txt").read_text() == "one 104\ntwo 105\n"
    # A folder that is there is not written over.
    assert main(["toy", "--config", str(file), f"folder={folder}"]) == 2
    assert f"to go on with it: bash {folder}/submit.sh" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("sections", "parts"),
    [
        ({"stages": {}}, ["'stages' is empty"]),
        ({"stages": {"one": {"confg": "x.yaml"}}}, ["stages.one", "confg", "did you mean 'config'"]),
        ({"stages": {"one": toy(slurm={"nods": 2})}}, ["stages.one", "nods", "did you mean 'nodes'"]),
        ({"stages": {"one": toy(slurm={"time": 500})}}, ["time=500", "signal=300", "600 s"]),
        ({"stages": {"one": toy(slurm={"time": "soon"})}}, ["stages.one", "time=soon", "H:MM:SS"]),
        ({"stages": {"one": toy(slurm={"tasks_per_node": 3})}}, ["tasks_per_node=3", "one process per GPU"]),
        ({"stages": {"one": toy(overrides={"trainer": {"devices": 2}})}}, ["'devices'", "slurm.gpus_per_node"]),
        ({"stages": {"one": toy(overrides={"run": "mine"})}}, ["'run'", "the launch folder"]),
        ({"stages": {"one": toy(overrides={"init_from": "{two}"}), "two": toy()}}, ["'{two}' is no earlier link"]),
        ({"stages": {"one": toy(after=["zero"])}}, ["after 'zero'", "no earlier link"]),
        ({"stages": {"code": toy()}}, ["stages.code"]),
        ({"stages": {"one": toy(overrides={"stage": {"widht": 1}})}}, ["stages.one.overrides.stage", "name of a"]),
        ({"stages": {"one": toy(overrides={"seeed": 1})}}, ["stages.one.overrides.seeed", "did you mean 'seed'"]),
        ({"stages": {"one": toy(tasks=3)}}, ["stages.one", "a training is one job"]),
        ({"stages": {"one": toy(config="none.yaml")}}, ["stages.one", "no config file at", "none.yaml"]),
    ],
)
def test_wrong_launch_file_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sections: dict[str, Any], parts: list[str]
) -> None:
    message = refused(capsys, launch_file(tmp_path, **sections))
    assert all(part in message for part in parts), message


def test_preprocessing_without_an_input_names_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, launch_file(tmp_path, stages={"one": toy()}, preprocess={"tasks": 2}))
    assert "give preprocess.overrides.input=" in message


@pytest.mark.slow
def test_system_without_a_stage_in_the_chain_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = launch_file(tmp_path, stages={"one": toy()})
    assert main(["mmgt", "--config", str(file), "--dry-run"]) == 2
    assert "no stage of system 'mmgt' is among its stages (toy)" in capsys.readouterr().err
    assert main(["mgmt", "--dry-run"]) == 2
    assert "python -m trainers.launch mmgt" in capsys.readouterr().err


@pytest.mark.slow
def test_launch_file_of_the_system_is_found_and_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mmgt", "preprocess.overrides.input=videos", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "submit preprocess " in out
    assert "submit smga " in out


@pytest.mark.slow
def test_the_chain_to_videos_builds_each_link_on_those_that_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(__file__).resolve().parents[2] / "configs" / "mmgt" / "launch_video.yaml"
    assert main(["mmgt", "--config", str(file), "preprocess.overrides.input=videos", "--dry-run"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("submit ")]
    waits = {words[1]: set(words[3:]) for words in lines}
    assert waits["image"] == {"latents"}
    assert waits["speech"] == {"image"}
    assert waits["video_pose"] == {"speech"}
    assert waits["video_audio"] == {"speech", "video_pose"}


@pytest.mark.slow
def test_versa_s_chain_to_videos_builds_its_second_step_on_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(__file__).resolve().parents[2] / "configs" / "versa" / "launch_video.yaml"
    assert main(["versa", "--config", str(file), "preprocess.overrides.input=videos", "--dry-run"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("submit ")]
    waits = {words[1]: set(words[3:]) for words in lines}
    assert waits["identity"] == {"latents"}
    assert waits["image"] == {"identity"}
    assert waits["pose_video"] == {"image"}
    assert waits["audio_video"] == {"image", "pose_video"}


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("24:00:00", 86_400), (86_400, 86_400), ("12:30", 750), ("2-0", 172_800), ("1-02:03:04", 93_784), ("700", 700)],
)
def test_time_limit_is_read_as_slurm_writes_it(time: int | str, seconds: int) -> None:
    assert SlurmOptions(time=time).seconds == seconds


BANK = {"input": "{features}", "tokenizer": "{base}"}


@pytest.mark.slow
def test_commands_between_trainings_are_links(tmp_path: Path, calls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stages = {
        "base": toy(slurm={"nodes": 2, "gpus_per_node": 4}),
        "features": {
            "module": "preprocessing.features",
            "overrides": {"input": "{preprocess}", "network": "{base}"},
            "slurm": {"cpus_per_task": 3},
        },
        "second": toy(overrides={"init_from": "{base}", "seed": 1}),
        "left_out": None,
        "bank": {
            "module": "preprocessing.bank",
            "after": ["base"],
            "overrides": {"input": "{features}", "tokenizer": "{base}"},
        },
    }
    file = launch_file(tmp_path, preprocess={"tasks": 3, "overrides": {"input": "videos"}}, stages=stages)
    folder = tmp_path / "out"
    assert main(["toy", "--config", str(file), f"folder={folder}"]) == 0
    said = capfd.readouterr().out
    assert (
        "preprocess: job 101\nbase: job 102 after 101\nfeatures: job 103 after 101:102\nsecond: job 104 after 102:103\n"
        "bank: job 105 after 102:103\n"
    ) in said
    output = yaml.safe_load((folder / "features" / "config.yaml").read_text())
    assert output["input"] == str(folder / "shards")
    assert output["network"] == str(folder / "base")
    assert output["output"] == str(folder / "features" / "output")
    bank = yaml.safe_load((folder / "bank" / "config.yaml").read_text())
    assert bank["input"] == output["output"]
    script = (folder / "features" / "preprocess.sbatch").read_text()
    assert "COSPEECH_MODULE=preprocessing.features\n" in script
    for line in ("--ntasks-per-node=1", "--gpus-per-node=1", "--cpus-per-task=3", "--nodes=1", "--signal=B:USR1@300"):
        assert f"#SBATCH {line}\n" in script
    # A word of a job array's would be one that the command does not know.
    head = script.partition("set -u")[0]
    assert "--array" not in head
    assert "COSPEECH_TASKS" not in head


def test_a_command_that_shares_its_work_may_be_an_array(tmp_path: Path, calls: Path) -> None:
    pairs = {
        "module": "preprocessing.negatives",
        "tasks": 5,
        "at_once": 2,
        "overrides": {"input": "{preprocess}", "run": "{base}", "checkpoint": 60000},
    }
    file = launch_file(tmp_path, preprocess={"overrides": {"input": "videos"}}, stages={"base": toy(), "pairs": pairs})
    folder = tmp_path / "out"
    assert main(["toy", "--config", str(file), f"folder={folder}"]) == 0
    script = (folder / "pairs" / "preprocess.sbatch").read_text()
    assert "#SBATCH --array=0-4%2\n" in script
    assert "COSPEECH_TASKS=5\n" in script
    assert yaml.safe_load((folder / "pairs" / "config.yaml").read_text())["checkpoint"] == 60000


def test_a_dry_run_begins_with_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = {
        "one": toy(slurm={"nodes": 2, "gpus_per_node": 4, "time": "1-12"}),
        "two": toy(slurm={"gpus_per_node": 0}),
    }
    file = launch_file(tmp_path, preprocess={"tasks": 5, "overrides": {"input": "videos"}}, stages=stages)
    assert main(["toy", "--config", str(file), f"folder={tmp_path / 'out'}", "--dry-run"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert lines[0] == f"3 links in {tmp_path / 'out'}:"
    assert lines[1].split() == ["1.", "preprocess", "python", "-m", "preprocessing.run"]
    assert (
        "5 jobs of 1 node x 1 process, no GPU, 8 cores a process, 24:00:00 h; starts at once; writes shards" in lines[2]
    )
    assert lines[3].split() == ["2.", "one", "trains", "toy"]
    assert "2 nodes x 4 GPUs, 8 cores a process, 36:00:00 h; after preprocess; writes one" in lines[4]
    assert "after one; writes two" in lines[6]
    assert lines[7].startswith("Largest job: 8 GPUs.")


@pytest.mark.parametrize(
    ("system", "words", "after"),
    [
        (
            "implicit_motion",
            ["preprocess.overrides.input=VIDEOS", "stages.base.overrides.stage.vgg_weights=VGG"],
            {"base": "preprocess", "features": "preprocess, base", "motion": "base, features"},
        ),
        (
            "versa",
            ["stages.clips.overrides.input=MOTION", "stages.bank.overrides.input=SHARDS"],
            {"text_motion": "clips, tokenizer", "audio_motion": "clips, tokenizer, text_motion", "bank": "tokenizer"},
        ),
        (
            "chatanyone",
            ["preprocess.overrides.input=VIDEOS", "stages.renderer.overrides.stage.vgg_weights=VGG"],
            {
                "face_motion": "head, coefficients",
                "renderer": "head, coefficients",
                "moves": "coefficients, renderer",
                "body_motion": "renderer, moves",
                "face_refine": "head, coefficients, renderer",
            },
        ),
    ],
)
def test_chains_of_the_systems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], system: str, words: list[str], after: dict[str, str]
) -> None:
    assert main([system, *words, f"folder={tmp_path / 'out'}", "--dry-run"]) == 0
    said = capsys.readouterr().out.partition("#####")[0]
    for name, waits in after.items():
        assert f"after {waits}; writes {name}" in said
    assert not (tmp_path / "out").exists()


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_submitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["preprocess.overrides.input=VIDEOS", "stages.base.overrides.stage.vgg_weights=VGG"]
    words += ["stages.motion.slurm.gpus_per_node=6", f"folder={tmp_path / 'out'}", "--dry-run"]
    assert main(["implicit_motion", *words]) == 2
    assert "stages.motion': data.global_batch=64 does not divide by 6 ranks" in capsys.readouterr().err


def test_preprocessing_by_a_shipped_preset(tmp_path: Path) -> None:
    stages = {"smga": {"config": "smga/tiny.yaml", "overrides": {"data": {"shards": "{preprocess}"}}}}
    preset = PreprocessOptions(config=Path("../preprocessing/half_body.yaml"), overrides={"input": "VIDEOS"})
    file = shipped.folder("configs") / "mmgt" / "launch.yaml"
    place = LaunchContext(file=file, folder=tmp_path / "out", code=shipped.ROOT, python=sys.executable, cwd=Path.cwd())
    link, _ = chain("mmgt", stages, preset, SlurmOptions(), "trainers.fit", place)
    assert link.config["quality"]["require"] == "waist_up"
    assert link.config["crop"] == {"name": "frame", "width": 512, "height": 896, "min_inside": 0.9}
