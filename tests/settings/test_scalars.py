"""A text stays a text and a choice its word, in files and on the command line."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from settings import Choice, Registry, command


def plain(*, size: int = 1) -> None:
    """A part."""


PARTS = Registry("part", {})
PARTS.add("off", plain)
PARTS.add("007", plain)


def target(
    *,
    run: Path | None = None,
    language: str = "en",
    name: str | None = None,
    mode: Literal["on", "off", "none"] = "off",
    warn: bool | Literal["warn"] = False,
    epochs: int | None = 3,
    devices: int | list[int] | str = "auto",
    tags: list[str] = [],
    beside: dict[str, str] = {},
    where: dict[str, Any] = {},
    part: Annotated[dict, Choice(PARTS)] = "off",  # type: ignore[assignment]
) -> None:
    """Does the thing."""


CASES = [
    ("run", "2024_11_20", "2024_11_20"),
    ("run", "007", "007"),
    ("run", "2026", "2026"),
    ("run", "2026-11-27", "2026-11-27"),
    ("run", "none", None),
    ("run", "null", None),
    ("language", "no", "no"),
    ("language", "none", "none"),
    ("name", "12:30:45", "12:30:45"),
    ("name", "1e5", "1e5"),
    ("name", "true", "true"),
    ("mode", "off", "off"),
    ("mode", "on", "on"),
    ("mode", "none", "none"),
    ("warn", "true", True),
    ("warn", "no", False),
    ("warn", "warn", "warn"),
    ("epochs", "none", None),
    ("epochs", "None", None),
    ("epochs", "1_000", 1000),
    ("epochs", "1e3", 1000),
    ("devices", "2", 2),
    ("devices", "auto", "auto"),
    ("tags", "[1e5, yes, 010]", ["1e5", "yes", "010"]),
    ("beside", "{a: 007, b: no}", {"a": "007", "b": "no"}),
    ("where", "{language: no, speaker: 007, seconds: 3, consent: true}",
     {"language": "no", "speaker": "007", "seconds": 3, "consent": True}),
    ("part", "off", {"name": "off", "size": 1}),
    ("part", "007", {"name": "007", "size": 1}),
    ("part", "{name: off, size: 2}", {"name": "off", "size": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "text", "value"), CASES)
def test_what_a_word_means_is_for_the_key_to_say(tmp_path: Path, key: str, text: str, value: Any) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"{key}: {text}\n")
    assert command(target, [f"{key}={text}"], prog="thing")[key] == value
    assert command(target, ["--config", str(file)], prog="thing")[key] == value


def test_quotes_keep_a_text(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: 'none'\ntags: ['1', on]\n")
    values = command(target, ["--config", str(file)], prog="thing")
    assert (values["name"], values["tags"]) == ("none", ["1", "on"])


def error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        command(target, list(words), prog="thing")
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("text", ["name: a\nname: b\n", "beside:\n  a: x\n  b: y\n  a: z\n"])
def test_a_repeated_key_of_a_file_is_refused_with_its_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    said = error(capsys, "--config", str(file))
    lines = "lines 1 and 2" if text.startswith("name") else "lines 2 and 4"
    assert f"{file}: " in said
    assert "is given twice" in said
    assert lines in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("words", [["--name", "a", "--name", "b"], ["--name=a", "name=b"], ["name=a", "--name", "a"]])
def test_a_repeated_option_is_refused(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert "'name' is given twice, as a and as" in error(capsys, *words)


def test_a_repeated_config_or_required_key_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\n")
    assert "--config is given twice" in error(capsys, *["--config", str(tmp_path / "a.yaml")] * 2)

    def needs(*, run: str) -> None:
        """Does it."""

    with pytest.raises(SystemExit):
        command(needs, ["run=a", "run=b"], prog="thing")
    assert "'run' is given twice, as a and as b" in capsys.readouterr().err


def test_a_later_setting_may_change_an_earlier_one_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(target, ["epochs=3", "epochs=4"], prog="thing")["epochs"] == 4
    assert "epochs is given twice: 4 is used, not 3" in capsys.readouterr().err
    assert command(target, ["--tags", "a", "--tags", "b"], prog="thing")["tags"] == ["a", "b"]
