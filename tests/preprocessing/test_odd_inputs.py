"""One run over inputs of the kinds that people have: all that can be used is, and the rest stands in the summary."""

import json
import os
import shutil

from tests.preprocessing.clips import quick_run, tone, write_clip
from tests.preprocessing.test_run import samples


def test_a_folder_of_odd_names_links_and_copies(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_clip(folder / "a.mp4", seconds=1, audio=tone(1), seed=1)
    shutil.copy(folder / "a.mp4", folder / "copy of a.mp4")
    odd = os.path.join(os.fsencode(folder), b"\xff\xfe.mp4")
    os.rename(write_clip(folder / "b.mp4", seconds=1, audio=tone(1), seed=2), odd)
    with open(os.path.join(os.fsencode(folder), b"broken \xff.mp4"), "wb") as file:
        file.write(b"ffconcat version 1.0\nfile /etc/hostname\n")
    (folder / "dead.mp4").symlink_to(folder / "nowhere.mp4")
    ended = quick_run(f"input={folder}", f"output={tmp_path / 'out'}", "workers=0")
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "not taken: copy of a.mp4: a copy of a.mp4" in ended.stdout
    assert "not taken: dead.mp4: a link to a file that is not there" in ended.stdout
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["skipped"] == 2
    assert [error["file"] for error in summary["errors"]] == ["broken \\xff.mp4"]
    assert "ffconcat" in summary["errors"][0]["reason"]
    assert sorted(v["clip.json"].source for v in samples(tmp_path / "out").values()) == ["\\xff\\xfe.mp4", "a.mp4"]
    assert "a copy of a.mp4" in (tmp_path / "out/report.html").read_text()
