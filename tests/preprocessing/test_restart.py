"""Killed anywhere and started again: the shards and the index of an uninterrupted run, byte for byte."""

import os
import random
import signal
import time

import pytest

from preprocessing.options import Options
from preprocessing.runs.videos import VideoWork
from preprocessing.sources.manifest import assign_splits, read_sources
from tests.preprocessing.clips import contents, kill_with_children, quick_run, start_quick_run


@pytest.fixture(scope="module")
def whole(five_videos, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "out"
    ended = quick_run(f"input={five_videos}", f"output={output}", "workers=0", "videos_per_shard=2")
    assert ended.returncode == 0, ended.stderr
    return contents(output)


@pytest.mark.parametrize(
    ("workers", "seed"),
    [pytest.param(0, 1, marks=pytest.mark.slow), (2, 2), pytest.param(2, 3, marks=pytest.mark.slow)],
)
def test_kill_minus_nine_changes_no_byte(five_videos, whole, tmp_path, workers, seed):
    words = [
        f"input={five_videos}",
        f"output={tmp_path}/out",
        f"workers={workers}",
        "videos_per_shard=2",
        "pose.seconds=0.01",
    ]
    moments = random.Random(seed)
    killed = 0
    for _ in range(3):
        process = start_quick_run(*words)
        time.sleep(moments.uniform(0.7, 2.5))
        if process.poll() is not None:
            break
        assert not kill_with_children(process), "a worker outlived its parent"
        killed += 1
        for path in (tmp_path / "out").glob("*.tar"):
            assert path.read_bytes() == whole[path.name], "a shard was half written under its final name"
    assert killed
    ended = quick_run(*words)
    assert ended.returncode == 0, ended.stderr
    assert contents(tmp_path / "out") == whole
    assert not (tmp_path / "out" / "work").exists()
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_polite_stop_is_no_error_of_a_video(five_videos, whole, tmp_path, number):
    words = [f"input={five_videos}", f"output={tmp_path}/out", "workers=2", "videos_per_shard=2"]
    process = start_quick_run(*words, "pose.seconds=0.02")
    deadline = time.monotonic() + 30
    while not list((tmp_path / "out").glob("work/parts/*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    # A cluster signals the whole group, workers included.
    os.killpg(process.pid, number)
    assert process.wait(20) == 130
    ended = quick_run(*words, "pose.seconds=0.02")
    assert ended.returncode == 0, ended.stderr
    assert "going on" in ended.stderr
    assert contents(tmp_path / "out") == whole


def interrupted(five_videos, output, monkeypatch, where):
    """A run in this process that stops at a function of `preprocessing.run` or `preprocessing.runs.merge`."""
    from preprocessing import run
    from preprocessing.runs import merge
    from settings import build
    from tests.preprocessing import quick_run as quick

    values = {"pose": "quick", "face": "off", "quality": "off", "speech": ["quick"], "min_clip_seconds": 0.4}
    options = build(
        {"input": str(five_videos), "output": str(output), "workers": 0, "videos_per_shard": 2, **values}, Options
    )
    assert quick.QUICK

    class Stop(BaseException):
        pass

    def stop(*_, **__):
        raise Stop

    module, name = where
    with monkeypatch.context() as patch:
        patch.setattr({"run": run, "merge": merge}[module], name, stop)
        with pytest.raises(Stop):
            run.preprocess(options)
    return options


@pytest.mark.parametrize("where", [("run", "assemble"), ("run", "merge"), ("merge", "summarise"), ("merge", "_report")])
def test_stopped_between_the_last_steps(five_videos, whole, tmp_path, monkeypatch, where):
    from preprocessing.run import preprocess

    options = interrupted(five_videos, tmp_path / "out", monkeypatch, where)
    summary = preprocess(options)
    assert summary["state"] == "finished"
    assert summary["clips"] == 5
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "record cut", "record gone"])
def test_parts_damaged_by_a_power_cut_are_made_again(five_videos, whole, tmp_path, monkeypatch, damage):
    from preprocessing.run import preprocess

    options = interrupted(five_videos, tmp_path / "out", monkeypatch, ("run", "assemble"))
    part = tmp_path / "out" / "work" / "parts" / "000001.tar"
    record = part.with_suffix(".json")
    data = bytearray(part.read_bytes())
    if damage == "cut":
        part.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 255
        part.write_bytes(data)
    elif damage == "gone":
        part.unlink()
    elif damage == "record cut":
        record.write_text(record.read_text()[:40])
    else:
        record.unlink()
    preprocess(options)
    assert contents(tmp_path / "out") == whole


def test_a_shard_that_went_missing_before_the_end_is_made_again(five_videos, whole, tmp_path, monkeypatch):
    from preprocessing.run import preprocess

    options = interrupted(five_videos, tmp_path / "out", monkeypatch, ("run", "merge"))
    (tmp_path / "out" / "shard-000001.tar").unlink()
    preprocess(options)
    assert contents(tmp_path / "out") == whole


def test_a_video_added_meanwhile_is_noticed(five_videos, tmp_path):
    import shutil

    folder = tmp_path / "videos"
    shutil.copytree(five_videos, folder)
    words = [f"input={folder}", f"output={tmp_path}/out", "workers=0"]
    assert quick_run(*words).returncode == 0
    (folder / "z.mp4").write_bytes((folder / "a.mp4").read_bytes() + bytes(8))  # not a copy: those are left out
    ended = quick_run(*words)
    assert ended.returncode == 1
    assert "1 videos new, such as z.mp4" in ended.stderr


def test_two_processes_never_hold_the_same_shard(five_videos, tmp_path):
    sources = read_sources(five_videos)
    options = Options(input=str(five_videos), output=str(tmp_path))
    work = VideoWork(tmp_path, options, sources, assign_splits(sources, options.splits))
    work.open()
    with (
        work.alone("shards/000000") as first,
        work.alone("shards/000000") as second,
        work.alone("shards/000001") as other,
    ):
        assert (first, second, other) == (True, False, True)
    with work.alone("shards/000000") as repeated:
        assert repeated
