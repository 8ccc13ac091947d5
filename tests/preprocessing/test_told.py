"""What commands that make shards print of inputs: what was left out, and what was wrong with what they took."""

from pathlib import Path
from typing import Any

import pytest

from preprocessing.motion.run import main
from preprocessing.options import Options
from preprocessing.run import report
from preprocessing.runs.command import tell_first
from tests.preprocessing.motion_files import write_smplx, write_wav
from tests.preprocessing.test_motion_import import clips_of


def test_sound_that_is_longer_than_its_motion_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands behind the motion's end is in no clip."""
    write_smplx(tmp_path / "in" / "take.npz", 2.0, seed=3)
    write_wav(tmp_path / "in" / "take.wav", 3.5)
    assert main([f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}", "speech=[]", "workers=0"]) == 0
    said = capsys.readouterr().out
    assert "left out: none" in said
    (line,) = [line for line in said.splitlines() if line.startswith("  warning: ")]
    assert line.startswith("  warning: take.npz: the sound lasts 3.50 s, the motion lasts ")
    assert line.endswith(" s: what stands behind the motion's end is left out")
    ((info, values, _),) = clips_of(tmp_path / "out").values()
    assert len(values["audio.flac"]) == round(info.frames / info.fps * 16_000)


def test_warnings_of_videos_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary: dict[str, Any] = {
        "state": "finished", "videos": 3, "spans": 0, "clips": 2, "dropped": {}, "cut_short": [], "skips": [],
        "report": "report.html",
        "errors": [{"file": "a.mp4", "reason": "is empty"}],
        "warnings": [{"file": "b.mov", "warning": "HDR (HLG): tone mapped to ordinary brightness"}],
    }  # fmt: skip
    report(Options(str(tmp_path), str(tmp_path / "out")), summary)
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == [
        "  not usable: a.mp4: is empty",
        "  warning: b.mov: HDR (HLG): tone mapped to ordinary brightness",
    ]


def test_many_lines_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell_first("not usable", (f"{number}.npz: broken" for number in range(23)), tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "  not usable: 0.npz: broken"
    assert said[20:] == [f"  not usable: 3 more, see {tmp_path / 'summary.json'}"]
