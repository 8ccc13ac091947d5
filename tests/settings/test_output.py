"""Outputs that cannot be written are one line, before the work where that can be known."""

import errno
import functools
import importlib
from pathlib import Path

import pytest

from settings import ConfigError
from settings.device import device_of
from settings.output import OutputError, check_writable, faults_of


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "deeper" / "x.mp4")
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_place_that_cannot_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(dir: Path) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match=f"cannot write to {tmp_path / 'x.mp4'}") as refused:
        check_writable(tmp_path / "x.mp4")
    assert "\n" not in str(refused.value)


def test_a_file_where_a_folder_would_have_to_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        check_writable(tmp_path / "file" / "x.mp4")


def test_faults_of_the_file_system_become_the_outputs_and_others_pass(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the disk is full"), faults_of(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutputError, match="the disk is full"), faults_of(tmp_path):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    with pytest.raises(FileNotFoundError), faults_of(tmp_path):
        (tmp_path / "nowhere").read_text()
    with pytest.raises(RuntimeError, match="mine"), faults_of(tmp_path):
        raise RuntimeError("mine")
    with pytest.raises(LookupError, match="step 4 is whole"), faults_of(tmp_path, passing=(LookupError,)):
        raise LookupError("No space left on device; step 4 is whole")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device={name}"):
        device_of(name)


def test_devices() -> None:
    assert device_of("cpu").type == "cpu"
    assert device_of("auto").type in ("cpu", "cuda")


def test_an_input_that_may_not_be_read_is_not_the_output(tmp_path: Path) -> None:
    elsewhere, output = tmp_path / "in" / "a.wav", tmp_path / "out" / "b"
    with pytest.raises(OutputError, match=f"{elsewhere}: not yours; make it readable"), faults_of(output):
        raise PermissionError(errno.EACCES, "Not yours", str(elsewhere))
    with pytest.raises(OutputError, match="cannot write to"), faults_of(output):
        raise PermissionError(errno.EACCES, "Not yours", str(output / "c.npz"))


COMMANDS = {
    "preprocessing.run": ("preprocess", "input=. output={out}"),
    "preprocessing.features.run": ("make_features", "input=. output={out} network=."),
    "preprocessing.bank": ("make_bank", "input=. output={out} tokenizer=."),
    "preprocessing.motion.run": ("import_motion", "input=. output={out}"),
    "preprocessing.synthetic.__main__": ("generate", "output={out}"),
    "preprocessing.synthetic_motion.__main__": ("generate", "output={out}"),
    "preprocessing.synthetic_actors.__main__": ("generate", "output={out}"),
    "trainers.animate": ("animate", "run=. out={out}"),
    "trainers.compare": ("compare", "run-a out={out}"),
    "trainers.dashboard": ("dashboard", "out={out}"),
    "trainers.evaluate": ("evaluate", "run=. out={out}"),
    "trainers.export": ("export", "run=. out={out}"),
    "trainers.report": ("report", "{out}"),
}


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_in_one_line_that_it_cannot_write(
    tmp_path: Path, name: str, fault: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(name)
    function, words = COMMANDS[name]
    out = tmp_path / "out.json"

    @functools.wraps(getattr(module, function))
    def refuse(*args: object, **options: object) -> None:
        raise OSError(fault, "Never", str(out / "x"))

    monkeypatch.setattr(module, function, refuse)
    try:
        status = module.main(words.format(out=out).split())
    except SystemExit as ended:
        status = ended.code
    assert status in (1, 2)
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith(f"error: cannot write to {out}")
    assert "Traceback" not in said.err
