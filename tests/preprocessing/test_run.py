"""The command: what comes out of a folder of videos, whatever is wrong with some of them."""

import json
import os
import subprocess
import time

import pytest

from datamodules.clip import decode
from datamodules.shards.index import Index
from preprocessing.runs.writer import read_members
from tests.preprocessing.clips import contents, kill_with_children, quick_run, start_quick_run, tone, write_clip
from tests.preprocessing.test_decode import broken


def samples(output):
    """Every sample of a folder: id to its decoded keys."""
    found = {}
    for shard in Index.load(output).shards:
        data = (output / shard.name).read_bytes()
        for sample in shard.samples:
            members = read_members(data[sample.offset : sample.offset + sample.size])
            found[sample.id] = {
                name.partition(".")[2]: decode(name.partition(".")[2], value, sample.id) for name, value in members
            }
    return found


@pytest.fixture(scope="module")
def made(five_videos, tmp_path_factory):
    """An uninterrupted run over five videos, in one process."""
    output = tmp_path_factory.mktemp("made") / "out"
    ended = quick_run(f"input={five_videos}", f"output={output}", "workers=0", "videos_per_shard=2")
    assert ended.returncode == 0, ended.stderr
    return output, ended


def test_a_folder_of_videos_becomes_shards(made):
    output, ended = made
    assert sorted(path.name for path in output.glob("*.tar")) == [f"shard-{i:06d}.tar" for i in range(3)]
    assert not (output / "work").exists()
    assert not [path for path in output.rglob("*") if path.name.startswith(".")]
    assert "5 videos, 5 clips kept" in ended.stdout
    found = samples(output)
    assert len(found) == 5
    for clip, values in found.items():
        info = values["clip.json"]
        assert next(iter(values)) == "clip.json"
        assert info.id == clip
        assert info.frames == len(values["pose.npz"]["keypoints"])
        assert len(values["audio.flac"]) == info.samples == round(info.frames / 25 * 16_000)
        assert len(info.sha256) == 64
        assert 0 < info.extra["quality"]["brightness"] < 1
    sources = [values["clip.json"].source for values in found.values()]
    assert sources == ["a.mp4", "b.mp4", "c.mp4", "more/a.mp4", "more/d.mov"]


def test_the_summary_counts_everything(made):
    summary = json.loads((made[0] / "summary.json").read_text())
    assert (summary["videos"], summary["clips"], summary["dropped"], summary["errors"]) == (5, 5, {}, [])
    assert set(summary["seconds"]) >= {"decode", "scenes", "cut", "pose", "speech", "write"}
    assert summary["frames_per_step"]["pose"] == summary["frames"] == 125
    assert summary["splits"] == {"test": 1, "train": 3, "val": 1}


def test_statistics_are_of_the_training_split(made):
    index = Index.load(made[0])
    train = [v for v in samples(made[0]).values() if v["clip.json"].split == "train"]
    assert index.statistics["clips"] == len(train) == 3
    points = [row for values in train for row in values["pose.npz"]["keypoints"][:, 0, 0].tolist()]
    assert index.statistics["pose"]["mean"][0][0] == pytest.approx(sum(points) / len(points), abs=1e-6)


def test_a_list_of_spans_becomes_clips_and_goes_on_after_a_stop(five_videos, tmp_path):
    rows = [
        ("a.mp4", "0", "0.5", ""), ("more/d.mov", "0.1", "0.6", ""), ("more/d.mov", "0.7", "1.3", "0 0 32 48"),
        ("more/d.mov", "0.8", "7", ""), ("more/d.mov", "9", "10", ""), ("more/d.mov", "0.1", "0.6", "0,0,90,48"),
    ]  # fmt: skip
    lines = ["file;start;end;crop;speaker"] + [f"{five_videos / row[0]};{';'.join(row[1:])};ann" for row in rows]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    words = [f"input={tmp_path / 'list.csv'}", "videos_per_shard=2", "splits={train: 1.0}"]
    ended = quick_run(*words, f"output={tmp_path / 'out'}", "workers=0")
    assert ended.returncode == 0, ended.stderr
    assert "6 spans of 2 videos, 4 clips kept" in ended.stdout
    assert "dropped: 1 past_end" in ended.stdout
    assert "1 spans reach past the end" in ended.stdout
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["videos"], summary["spans"], summary["dropped"]) == (2, 6, {"past_end": 1})
    assert ["the video at 1.40 s" in entry["detail"] for entry in summary["cut_short"]] == [True]
    assert ["crop 0,0,90,48 reaches outside" in entry["reason"] for entry in summary["errors"]] == [True]
    found = [values["clip.json"] for values in samples(tmp_path / "out").values()]
    assert [(i.source, i.start, i.end, i.width) for i in found] == [
        ("a.mp4", 0.0, 0.52, 64), ("d.mov", 0.12, 0.6, 64), ("d.mov", 0.72, 1.32, 32), ("d.mov", 0.8, 1.4, 64),
    ]  # fmt: skip
    assert "Spans cut short" in (tmp_path / "out/report.html").read_text()
    # Killed once a part of the spans is done, and started again.
    slow = [*words, f"output={tmp_path / 'two'}", "workers=2", "pose.seconds=0.04"]
    process = start_quick_run(*slow)
    parts, deadline = tmp_path / "two" / "work" / "parts", time.monotonic() + 60
    while not list(parts.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not kill_with_children(process)
    done = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.json")}
    assert 0 < len(done) < 6
    assert not (tmp_path / "two" / "index.json").exists()
    repeated = quick_run(*slow)
    assert repeated.returncode == 0, repeated.stderr
    assert f"going on: {len(done)} of 6" in repeated.stderr
    assert contents(tmp_path / "two") == contents(tmp_path / "out")


def test_workers_and_repeats_change_no_byte(made, five_videos, tmp_path):
    ended = quick_run(f"input={five_videos}", f"output={tmp_path / 'out'}", "workers=2", "videos_per_shard=2")
    assert ended.returncode == 0, ended.stderr
    assert contents(tmp_path / "out") == contents(made[0])
    repeated = quick_run(f"input={five_videos}", f"output={tmp_path / 'out'}", "workers=0", "videos_per_shard=2")
    assert repeated.returncode == 0
    assert "already complete" in repeated.stdout


@pytest.mark.slow
def test_other_options_are_refused_until_told_to_restart(five_videos, tmp_path):
    words = [f"input={five_videos}/more", f"output={tmp_path / 'out'}", "workers=0"]
    assert quick_run(*words).returncode == 0
    other = quick_run(*words, "size=32")
    assert other.returncode == 1
    assert "size: 512 there, 32 now" in other.stderr
    assert "restart=true" in other.stderr
    assert "Traceback" not in other.stderr
    assert quick_run(*words, "size=32", "restart=true").returncode == 0
    assert {v["clip.json"].width for v in samples(tmp_path / "out").values()} == {32}
    (tmp_path / "out" / "shard-000000.tar").unlink()
    damaged = quick_run(*words, "size=32")
    assert damaged.returncode == 1
    assert "missing or damaged" in damaged.stderr


def test_shards_of_unknown_origin_are_left_alone(five_videos, tmp_path):
    (tmp_path / "shard-000000.tar").write_bytes(b"precious")
    ended = quick_run(f"input={five_videos}", f"output={tmp_path}", "workers=0")
    assert ended.returncode == 1
    assert "unknown run" in ended.stderr
    assert (tmp_path / "shard-000000.tar").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["output=o"], "'input' is required"),
        (["input=nowhere", "output=o"], "does not exist"),
        (["input=nowhere", "output=o", "fpss=3"], "did you mean 'fps'"),
        (["input=nowhere", "output=o", "fps=fast"], "'fps'"),
        (["input=nowhere", "output=o", "pose=mediapip"], "did you mean 'mediapipe'"),
        (["input=nowhere", "output=o", "max_clip_seconds=60"], "at most 30"),
        (["input=nowhere", "output=o", "splits.val=0.5"], "add up to 1"),
        (["input=nowhere", "output=o", "task_index=3"], "both"),
        (["input=nowhere", "output=o", "task_index=3", "task_count=3"], "from 0 to task_count - 1"),
    ],
)
def test_a_bad_config_stops_before_anything_is_written(tmp_path, words, message):
    words = [
        word.replace("nowhere", f"{tmp_path}/nowhere").replace("output=o", f"output={tmp_path}/o") for word in words
    ]
    if "nowhere" not in message and message != "does not exist":
        (tmp_path / "nowhere").mkdir()
        write_clip(tmp_path / "nowhere" / "a.mp4", seconds=0.2)
    ended = quick_run(*words, "workers=0")
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "o").exists()


def test_broken_videos_cost_themselves_alone(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    kinds = ["empty", "text", "cut off, index lost", "cut off, index kept", "sound only", "damaged"]
    for kind in kinds:
        part = tmp_path / kind
        part.mkdir()
        broken(kind, part).rename(folder / f"{kind}.mp4")
    write_clip(folder / "one frame.mp4", seconds=0.04)
    write_clip(folder / "no sound.mp4", seconds=1)
    write_clip(folder / "good.mp4", seconds=1, audio=tone(1))
    write_clip(folder / "faceless.mp4", seconds=1)
    (tmp_path / "m.csv").write_text(
        "file,speaker\n" + "".join(f'"videos/{p.name}",x\n' for p in sorted(folder.iterdir())) + "videos/gone.mp4,x\n"
    )
    ended = quick_run(f"input={tmp_path}/m.csv", f"output={tmp_path}/out", "workers=2", "pose.drop=faceless")
    assert ended.returncode == 0, ended.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    errors = {error["file"]: error["reason"] for error in summary["errors"]}
    assert set(errors) == {f"videos/{kind}.mp4" for kind in kinds} | {"videos/gone.mp4"}
    assert all(name.split("/")[1] in reason for name, reason in errors.items())
    assert summary["dropped"] == {"no_face": 1, "too_short": 1}
    assert {drop["file"]: drop["reason"] for drop in summary["drops"]} == {
        "videos/faceless.mp4": "no_face",
        "videos/one frame.mp4": "too_short",
    }
    found = {v["clip.json"].source: v for v in samples(tmp_path / "out").values()}
    assert set(found) == {"videos/good.mp4", "videos/no sound.mp4"}
    assert found["videos/no sound.mp4"]["clip.json"].samples is None
    assert "audio.flac" not in found["videos/no sound.mp4"]
    assert "empty.mp4 is empty" in ended.stderr + ended.stdout


def test_a_video_that_kills_or_holds_up_its_worker(five_videos, tmp_path):
    ended = quick_run(
        f"input={five_videos}",
        f"output={tmp_path}/out",
        "workers=2",
        "pose.poison=b.mp4",
        "pose.hang=d.mov",
        "video_timeout=15",  # starting a worker on a busy machine counts as well
    )
    assert ended.returncode == 0, ended.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    errors = {error["file"]: error["reason"] for error in summary["errors"]}
    assert set(errors) == {"b.mp4", "more/d.mov"}
    assert "SIGSEGV" in errors["b.mp4"]
    assert "video_timeout=15" in errors["more/d.mov"]
    assert summary["clips"] == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_steps_that_cannot_be_built_are_no_fault_of_the_videos(five_videos, tmp_path, workers):
    words = [f"input={five_videos}/more", f"output={tmp_path}/out", f"workers={workers}"]
    ended = quick_run(*words, "pose.broken=true")
    assert ended.returncode == 2
    assert "config error: the steps cannot be built: ImportError: libGL.so.1" in ended.stderr
    assert "Traceback" not in ended.stderr
    # Nothing was made yet, so other options need no permission.
    assert quick_run(*words).returncode == 0


def test_when_nothing_is_kept_it_is_said(tmp_path):
    write_clip(tmp_path / "a.mp4", seconds=0.2)
    ended = quick_run(f"input={tmp_path}", f"output={tmp_path}/out", "workers=0")
    assert ended.returncode == 0
    assert "no clip was kept" in ended.stderr
    assert Index.load(tmp_path / "out").shards == []


def test_manifest_columns_reach_the_clips(tmp_path):
    write_clip(tmp_path / "a.mp4", seconds=2)
    row = {
        "file": "a.mp4", "id": "Talk 1", "speaker": "ann", "language": "en", "licence": "CC0", "consent": True,
        "split": "test", "captions": [{"start": 0.5, "end": 1.5, "text": "hello"}],
        "extra": {"phonemes": [{"start": 0.9, "end": 1.1, "phoneme": "h"}]},
    }  # fmt: skip
    (tmp_path / "m.jsonl").write_text(json.dumps(row))
    ended = quick_run(f"input={tmp_path}/m.jsonl", f"output={tmp_path}/out", "workers=0", "max_clip_seconds=1")
    assert ended.returncode == 0, ended.stderr
    first, second = (values["clip.json"] for values in samples(tmp_path / "out").values())
    assert (first.speaker, first.language, first.licence, first.consent, first.split) == (
        "ann",
        "en",
        "CC0",
        True,
        "test",
    )
    assert first.id.startswith("Talk-1-")
    assert [c.model_dump() for c in first.captions] == [{"start": 0.5, "end": 1.0, "text": "hello"}]
    assert [c.model_dump() for c in second.captions] == [{"start": 0.0, "end": 0.5, "text": "hello"}]
    assert second.extra["phonemes"] == [{"start": 0.0, "end": 0.1, "phoneme": "h"}]
    assert "no clip is in the split train" in ended.stderr


@pytest.mark.slow
def test_job_arrays_share_the_work_and_the_last_one_merges(made, five_videos, tmp_path):
    words = [f"input={five_videos}", f"output={tmp_path}/out", "workers=0", "videos_per_shard=2"]
    slurm = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_STEP": "1"}
    first = quick_run(*words, SLURM_ARRAY_TASK_ID="6", **slurm)
    assert first.returncode == 0, first.stderr
    assert "2 shards of other tasks are missing" in first.stdout
    assert not (tmp_path / "out" / "index.json").exists()
    assert [path.name for path in (tmp_path / "out").glob("*.tar")] == ["shard-000001.tar"]
    second = quick_run(*words, SLURM_ARRAY_TASK_ID="5", **slurm)
    assert second.returncode == 0, second.stderr
    assert contents(tmp_path / "out") == contents(made[0])
    parts = [json.loads((tmp_path / "out" / f"summary-{i:05d}.json").read_text()) for i in range(2)]
    whole = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [part["videos"] for part in parts] == [3, 2]
    assert whole["clips"] == sum(part["clips"] for part in parts) == 5
    refused = quick_run(*words, "task_index=0", "task_count=2", "restart=true")
    assert refused.returncode == 2


def test_tasks_at_the_same_time(made, five_videos, tmp_path):
    from tests.preprocessing.clips import quick_command, quick_environment

    words = [f"input={five_videos}", f"output={tmp_path}/out", "workers=0", "videos_per_shard=2", "task_count=2"]
    # The second task is started twice, as a requeue by mistake would do.
    running = [
        subprocess.Popen(quick_command(*words, f"task_index={i}"), env=quick_environment(), stderr=subprocess.PIPE)
        for i in (0, 1, 1)
    ]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    assert contents(tmp_path / "out") == contents(made[0])
    assert not (tmp_path / "out" / "work").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place], capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a small file system")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_ends_the_run_in_words(small_disk, tmp_path, workers):
    folder = tmp_path / "videos"
    folder.mkdir()
    for i in range(3):
        write_clip(folder / f"{i}.mp4", seconds=4, height=128, width=128, audio=tone(4), seed=i)
    words = [f"input={folder}", f"output={small_disk}/out", f"workers={workers}", "videos_per_shard=1"]
    ended = quick_run(*words)
    assert ended.returncode == 1
    assert "the disk is full" in ended.stderr
    assert str(small_disk) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (small_disk / "out" / "index.json").exists()
    left = [
        path.name for path in (small_disk / "out").rglob("*") if path.name.startswith(".") and path.suffix == ".tmp"
    ]
    assert not left
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    repeated = quick_run(*words)
    assert repeated.returncode == 0, repeated.stderr
    assert quick_run(f"input={folder}", f"output={tmp_path}/whole", "workers=0", "videos_per_shard=1").returncode == 0
    assert contents(small_disk / "out") == contents(tmp_path / "whole")


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    import errno

    from preprocessing.runs import writer

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer.os, "fsync", full)
    with pytest.raises(writer.OutputError, match=f"cannot write to {tmp_path}: the disk is full"):
        writer.write_json(tmp_path / "a.json", {})
    assert list(tmp_path.iterdir()) == []
