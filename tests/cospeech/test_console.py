"""The console command: every command by name, with help and config; presets, completion, other people's packages."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cospeech import names, shipped
from cospeech.__main__ import main
from cospeech.commands import COMMANDS
from settings.load import load
from settings.schema import keys

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command leaves in the environment of its process stays out of the tests'."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("PYTHONSAFEPATH", "PYTHONPATH"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        status = main(words)
    except SystemExit as end:
        status = int(end.code or 0)
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_no_command_is_forgotten() -> None:
    modules = {one.module for one in COMMANDS.values()}
    for room in ("trainers", "preprocessing"):
        for path in (ROOT / room).rglob("*.py"):
            if 'if __name__ == "__main__"' in path.read_text():
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
                assert module in modules, f"`python -m {module}` is no command of the console"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_key_with_its_meaning(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said([name, "--help"], capsys)
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: cospeech {name} ")
    module, _, attribute = COMMANDS[name].target.partition(":")
    for key, known in keys(getattr(importlib.import_module(module), attribute)).items():
        assert f"  {key}  (" in out
        assert known.meaning, f"{name}: nobody knows what {key} means"


@pytest.mark.parametrize("name", COMMANDS)
def test_print_config_needs_no_required_key(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said([name, "--print-config"], capsys)
    assert (status, err) == (0, "")
    module, _, attribute = COMMANDS[name].target.partition(":")
    assert set(yaml.safe_load(out)) >= set(keys(getattr(importlib.import_module(module), attribute)))


def test_a_required_key_is_marked_and_what_is_marked_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = said(["export", "--print-config", "checkpoint=best"], capsys)
    assert status == 0
    assert yaml.safe_load(out) == {"run": "???", "checkpoint": "best", "averaged": True, "out": None}
    (tmp_path / "config.yaml").write_text(out)
    status, _, err = said(["export", "--config", str(tmp_path / "config.yaml")], capsys)
    assert status == 2
    assert "run" in err
    assert len(err.splitlines()) == 1


def test_the_list_the_version_and_a_slip(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(["--help"], capsys)
    assert status == 0
    for name, one in COMMANDS.items():
        assert any(line.split() == [name, *one.line.split()] for line in out.splitlines())
    assert said(["--version"], capsys)[:2] == (0, f"cospeech {importlib.import_module('cospeech').__version__}\n")
    status, _, err = said(["animat"], capsys)
    assert status == 2
    assert "did you mean 'animate'?" in err


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} -m cospeech configs --help | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_presets_by_short_name_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in shipped.presets():
        values = [load(given, [], None)[0] for given in (f"configs/{name}.yaml", f"{name}.yaml", name)]
        assert values[0] == values[1] == values[2]
        assert values[0]["stage"]["name"].split(".") == name.split("/")[:2]


def test_a_config_in_the_current_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "configs" / "mmgt" / "smga" / "tiny.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("seed: 7")
    assert load("configs/mmgt/smga/tiny.yaml", [], None)[0] == {"seed": 7}


@pytest.mark.parametrize("name", ["../pyproject", "..", "configs", "configs/../../etc/x.yaml", "/nowhere.yaml"])
def test_only_presets_are_found_elsewhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped.find(Path(name)) == Path(name)


def test_presets_say_what_they_are_for(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(["configs"], capsys)
    assert status == 0
    rows = [line.split(maxsplit=2) for line in out.splitlines()]
    assert [row[0] for row in rows] == shipped.presets()
    assert all(row[1] == ".".join(row[0].split("/")[:2]) and len(row[2]) > 20 for row in rows)
    assert said(["configs", "nothing"], capsys)[0] == 1
    status, _, err = said(["fit", "--config", "mmgt/smga/tinny"], capsys)
    assert status == 2
    assert "mmgt/smga/tiny" in err


def test_completion_in_bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, script, _ = said(["completion", "bash"], capsys)
    assert status == 0
    (tmp_path / "completion").write_text(script)

    def completed(*words: str) -> list[str]:
        typed = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}"
        call = f"source completion; {typed}; $(complete -p cospeech | sed -E 's/.*-F (\\S+).*/\\1/'); "
        done = subprocess.run(
            ["bash", "-c", call + 'printf "%s\\n" "${COMPREPLY[@]}"'],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.split()

    assert set(completed("cospeech", "ev")) == {"evaluate"}
    assert "--trainer.max_steps" in completed("cospeech", "fit", "--trainer.max")
    assert "mmgt/smga/tiny" in completed("cospeech", "fit", "--config", "mmgt")
    assert "deepspeed_2" in completed("cospeech", "fit", "--strategy", "deep")


def test_completion_in_zsh_names_commands_keys_and_presets(capsys: pytest.CaptureFixture[str]) -> None:
    status, script, _ = said(["completion", "zsh"], capsys)
    assert status == 0
    assert script.startswith("#compdef cospeech")
    for word in (*COMMANDS, "--trainer.max_steps", "mmgt/smga/tiny"):
        assert word in script


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of somebody's own with packages that are called as ours."""
    for name, content in (("models", "MINE = 1\n"), ("metrics", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(content)
    return tmp_path


def _start(words: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_console_does_not_take_somebody_elses_models(foreign: Path) -> None:
    done = _start(["-m", "cospeech", "animate", "--print-config"], foreign, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("run: ???")


@pytest.mark.parametrize("command", ["trainers.fit", "preprocessing.run", "settings.presets"])
def test_a_module_started_beside_other_models_says_what_hides_what(foreign: Path, command: str) -> None:
    done = _start(["-m", command, "--help"], foreign, PYTHONPATH=str(ROOT))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: '{foreign / 'models'}' hides the package 'models' of cospeech")
    assert "`cospeech ...`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_import_beside_other_models_is_an_import_error(foreign: Path) -> None:
    done = _start(["-c", "import trainers"], foreign, PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: '")


def test_nothing_hides_ours_here() -> None:
    assert names.clash() is None


def test_commands_started_by_commands_do_not_search_the_current_folder(foreign: Path) -> None:
    environment = shipped.environment()
    done = _start(["-m", "settings.presets"], foreign, **{n: environment[n] for n in ("PYTHONSAFEPATH", "PYTHONPATH")})
    assert done.returncode == 0, done.stderr
    assert "mmgt/smga/tiny" in done.stdout
