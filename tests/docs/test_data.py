"""The manifests of known data sets that the documentation makes, from lines as the lists of their authors have."""

import json
import re
from collections import Counter
from dataclasses import astuple
from pathlib import Path

import pytest

from preprocessing.options import Options
from preprocessing.sources.manifest import assign_splits, read_sources
from settings import build, command

ROOT = Path(__file__).resolve().parents[2]

LISTS = {
    "cmu_intervals_df.csv": (
        "dataset,delta_time,end_time,interval_id,speaker,start_time,video_fn,video_link\n"
        "train,12.5,0:01:07.500000,100912,oliver,0:00:55,Some_Talk.mp4,https://www.youtube.com/watch?v=abcdefghijk\n"
        "dev,4.0,0:00:12,9,jon,0:00:08,show-0001.mp4,http://www.cc.com/video-clips/xyz\n"
        "train,3.9,0:00:20.9,10,jon,0:00:17,show-0001.mp4,http://www.cc.com/video-clips/xyz\n"
        "train,15.5,0:01:00.5,11,seth,0:00:45,late-0002.mp4,http://www.nbc.com/xyz\n"
        "train,6.0,0:00:36,12,almaram,0:00:30,lesson-0003.mp4,http://www.example.com/xyz\n"
        "train,15.0,0:00:45,13,chemistry,0:00:30,lesson-0004.mp4,http://www.example.com/xyz\n"
    ),
    "RD_annotion_time.txt": "Radio11.mp4 00:30-01:00 01:30-02:30\nRadio15.mp4 00:35-00:45\n",
    "RD_crop_wh.txt": "Radio11_0.mp4 412 599 0 599\nRadio11_1.mp4 557 478 0 478\n",
    "WDA_annotion_time.txt": "",
    "WDA_crop_wh.txt": "",
    "WRA_annotion_time.txt": "KevinBrady0.mp4 00:12-00:40 \nKevinBrady2.mp4 00:27-01:18\n",
    "WRA_crop_wh.txt": "KevinBrady0_0.mp4 10 500 20 500\n",
    "ted384-metadata.csv": (
        "video_id,start,end,bbox,fps,width,height,partition\n"
        "VM6HZqQKhok#016609#016737,0,0,104-10-665-570,10.0,944,944,train\n"
        "VM6HZqQKhok,150,400,118-59-354-295,25.0,944,472,test\n"
    ),
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the example of the documentation has run."""
    for name, text in LISTS.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "data.md").read_text()
    example = re.search(r"How lists of known data sets.*?```python\n(.*?)```", page, re.DOTALL)
    assert example
    exec(compile(example[1], "docs/data.md", "exec"), {})
    return tmp_path


def rows(manifest: Path) -> list[tuple]:
    return [
        (
            str(source.path.relative_to(manifest.parent)), source.span.start, source.span.end,
            None if source.crop is None else astuple(source.crop), source.row.get("speaker"), source.row.get("split"),
        )
        for source in read_sources(manifest)
    ]  # fmt: skip


def test_manifests_of_pats_hdtf_and_ted_are_read(made: Path) -> None:
    assert rows(made / "pats.jsonl") == [
        ("videos/almaram/lesson-0003.mp4", 30.0, 36.0, None, "almaram", None),
        ("videos/chemistry/lesson-0004.mp4", 30.0, 45.0, None, "chemistry", None),
        ("videos/jon/show-0001.mp4", 8.0, 12.0, None, "jon", None),
        ("videos/jon/show-0001.mp4", 17.0, 20.9, None, "jon", None),
        ("videos/oliver/abcdefghijk.mp4", 55.0, 67.5, None, "oliver", None),
        ("videos/seth/late-0002.mp4", 45.0, 60.5, None, "seth", None),
    ]
    assert rows(made / "hdtf.jsonl") == [
        ("videos/KevinBrady0.mp4", 12.0, 40.0, (10, 20, 510, 520), "KevinBrady", None),
        ("videos/KevinBrady2.mp4", 27.0, 78.0, None, "KevinBrady", None),
        ("videos/Radio11.mp4", 30.0, 60.0, (412, 0, 1011, 599), "Radio11", None),
        ("videos/Radio11.mp4", 90.0, 150.0, (557, 0, 1035, 478), "Radio11", None),
        ("videos/Radio15.mp4", 35.0, 45.0, None, "Radio15", None),
    ]
    assert rows(made / "ted.jsonl") == [
        ("videos/VM6HZqQKhok.mp4", 6.0, 16.0, (0.125, 0.125, 0.375, 0.625), None, "test"),
    ]


@pytest.mark.paper("PH-19")
def test_the_four_speakers_of_pats_in_takes_of_4_to_15_seconds_nine_to_one(made: Path) -> None:
    page = (ROOT / "docs" / "systems" / "paha.md").read_text()
    example = re.search(r"PATS for training.*?```python\n(.*?)```", page, re.DOTALL)
    assert example
    # Twelve more talks of one speaker, 125 takes each: more than are wanted.
    with open("pats.jsonl", "a") as out:
        for take in range(1500):
            row = {"file": f"videos/seth/{take // 125}.mp4", "start": f"0:00:{10 + take % 125 / 25}", "end": "0:00:25"}
            out.write(json.dumps(row | {"speaker": "seth", "id": f"seth-{take}"}) + "\n")
    exec(compile(example[1], "docs/systems/paha.md", "exec"), {})
    sources = read_sources(made / "pats-four.jsonl")
    assert Counter(source.row["speaker"] for source in sources) == {"chemistry": 1, "jon": 1, "oliver": 1, "seth": 1200}
    assert all(source.span is not None and 4 <= source.span.end - source.span.start <= 15 for source in sources)
    words = ["--config", str(ROOT / "configs" / "preprocessing" / "pats.yaml"), "input=pats-four.jsonl", "output=out"]
    options = build(command(Options, words, prog="python -m preprocessing.run"), Options)
    splits = assign_splits(sources, options.splits, options.split_by, options.seed)
    videos = {source.video: splits[source.name] for source in sources}
    assert Counter(videos.values()) == {"train": 13, "test": 2}
