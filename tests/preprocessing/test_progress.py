"""Progress of preprocessing: what came of the videos, the time left by their bytes, errors at once."""

from pathlib import Path
from types import SimpleNamespace

from preprocessing.runs.job import Job
from preprocessing.runs.progress import VideoProgress
from preprocessing.step import SourceFile


def job(number: int, size: int) -> Job:
    name = f"{number}.mp4"
    return Job(number, SourceFile(Path(name), name, Path()), "train", Path(f"{number}.part"), size)


def test_time_left_goes_by_bytes_and_errors_are_said_at_once(slow_clock, capsys, monkeypatch):
    said = []

    def note(text, *of):
        said.append(text % of)

    monkeypatch.setattr("preprocessing.runs.progress.logger", SimpleNamespace(info=note, warning=note))
    jobs = [job(0, 10_000_000), job(1, 30_000_000), job(2, 60_000_000)]
    with VideoProgress(jobs, jobs[1:]) as progress:
        progress.video_done(jobs[1], {"samples": [1, 2], "dropped": [1], "error": None})
        progress.video_done(jobs[2], {"samples": [], "dropped": [], "error": "no picture"})
    lines = capsys.readouterr().err.splitlines()
    assert "preprocessing  40.0M/100M, 2/3 videos, 2 clips, 1 dropped  ETA 04:00" in lines
    assert "preprocessing  100M/100M, 3/3 videos, 2 clips, 1 dropped, 1 errors  ETA 00:00" in lines
    assert said == ["going on: 1 of 3 videos are done", "2.mp4: no picture"]
