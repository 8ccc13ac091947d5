"""Configs are checked against signatures: a mistake names file, key and what was meant."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from settings import Choice, ConfigError, Registry, build, check, command
from settings.ranges import Count, Positive
from settings.schema import type_name


def small(*, lr: float = 0.1, steps: int = 3) -> tuple[str, float, int]:
    """A small part.

    Args:
        lr: how fast.
        steps: how long.
    """
    return "small", lr, steps


def large(*, width: int = 8) -> tuple[str, int]:
    """A large part.

    Args:
        width: how wide.
    """
    return "large", width


class Left:
    """One of two parts of the same options.

    Args:
        width: how wide.
    """

    def __init__(self, *, width: int = 8, deep: bool = False):
        self.width, self.deep = width, deep


class Right(Left):
    """The other."""


PARTS = Registry("part", {"small": f"{__name__}:small"})
PARTS.add("large", large)
PARTS.add("left", Left)
PARTS.add("right", Right)


@dataclass
class Section:
    """A section.

    Attributes:
        depth: how deep,
            over two lines.
        mode: which way.
    """

    depth: int = 2
    mode: Literal["up", "down"] = "up"


def target(
    *,
    folder: Path,
    section: Section = Section(depth=5),
    part: Annotated[dict, Choice(PARTS)] = "small",  # type: ignore[assignment]
    parts: list[Annotated[dict, Choice(PARTS)]] = ["small"],  # type: ignore[assignment]
    limit: float | None = None,
    where: dict[str, Any] = {},
) -> dict[str, Any]:
    """Does the thing.

    Args:
        folder: where things are.
        part: what to use.
    """
    return {"folder": folder, "section": section, "part": part, "limit": limit}


def read(*words: str, **options: Any) -> dict[str, Any]:
    return command(target, list(words), prog="thing", **options)


def test_every_default_is_filled_in() -> None:
    values = read("folder=x")
    assert values["part"] == {"name": "small", "lr": 0.1, "steps": 3}
    assert values["section"] == {"depth": 5, "mode": "up"}
    assert values["limit"] is None


@pytest.mark.parametrize("words", [["--folder", "x", "--section.depth", "7"], ["--folder=x", "section.depth=7"]])
def test_options_may_be_written_either_way(words: list[str]) -> None:
    values = read(*words)
    assert (values["folder"], values["section"]["depth"]) == ("x", 7)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["folder=x", "sectoin.depth=3"], ["'sectoin' unknown key", "did you mean 'section'"]),
        (["folder=x", "section.dept=3"], ["'section.dept' unknown key", "did you mean 'depth'"]),
        (["folder=x", "section.depth=deep"], ["'section.depth'", "valid integer", "'deep'"]),
        (["folder=x", "section.mode=left"], ["'section.mode'", "'up' or 'down'"]),
        (["folder=x", "part=smal"], ["'part' unknown part 'smal'", "did you mean 'small'"]),
        (["folder=x", "part.width=3"], ["'part.width' unknown key of 'small'"]),
        (["folder=x", "limit=much"], ["'limit'", "valid number"]),
        ([], ["'folder' is required", "folder=..."]),
        (["folder"], ["expected key=value, got 'folder'"]),
        (["--config", "nowhere.yaml"], ["no config file at nowhere.yaml"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(words: list[str], says: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        read(*words)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("config error: ")
    assert message.count("\n") == 1
    for part in says:
        assert part in message


def test_the_file_that_set_a_wrong_key_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "base.yaml").write_text("section: {dept: 3}\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nfolder: x\n")
    with pytest.raises(SystemExit):
        read("--config", str(tmp_path / "mine.yaml"))
    assert str(tmp_path / "base.yaml") in capsys.readouterr().err


def test_a_file_extends_another_and_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("folder: base\nsection: {depth: 3, mode: down}\npart: {name: small, lr: 0.5}\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nsection: {depth: 4}\n")
    values = read("--config", str(tmp_path / "mine.yaml"), "part.steps=9")
    assert values["section"] == {"depth": 4, "mode": "down"}
    assert values["part"] == {"name": "small", "lr": 0.5, "steps": 9}


def test_another_choice_drops_the_options_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("folder: x\npart: {name: small, lr: 0.5}\n")
    assert read("--config", str(tmp_path / "base.yaml"), "part=large")["part"] == {"name": "large", "width": 8}
    assert read("--config", str(tmp_path / "base.yaml"), "part.name=large", "part.width=2")["part"]["width"] == 2


@pytest.mark.parametrize("first", ["{name: left, width: 2, deep: true}", "{name: large, width: 2}"])
def test_a_part_of_another_name_takes_over_the_options_of_the_same_constructor_alone(
    tmp_path: Path, first: str
) -> None:
    (tmp_path / "base.yaml").write_text(f"folder: x\npart: {first}\n")
    (tmp_path / "own.yaml").write_text("extends: base.yaml\npart: {name: right}\n")
    alike = "left" in first
    for words in (["--config", str(tmp_path / "own.yaml")], ["--config", str(tmp_path / "base.yaml"), "part=right"]):
        expected = {"name": "right", "width": 2 if alike else 8, "deep": alike}
        assert read(*words)["part"] == expected


def test_a_circle_of_extends_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(SystemExit):
        read("--config", str(tmp_path / "a.yaml"))
    assert "circle" in capsys.readouterr().err


def test_broken_yaml_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "a.yaml").write_text("folder: [x\n")
    with pytest.raises(SystemExit):
        read("--config", str(tmp_path / "a.yaml"))
    assert "is not YAML" in capsys.readouterr().err


def test_print_config_goes_round(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        read("folder=x", "part=large", "--print-config")
    assert stop.value.code == 0
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert read("--config", str(tmp_path / "printed.yaml")) == read("folder=x", "part=large")


def test_help_shows_every_key_with_its_meaning(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        read("--help", "part=large")
    text = capsys.readouterr().out
    for word in ("where things are", "how deep, over two lines", "part.width", "how wide", "required"):
        assert word in text


def test_opening_a_config_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    witness = tmp_path / "witness"
    (tmp_path / "a.yaml").write_text(f"folder: !!python/object/apply:os.system ['touch {witness}']\n")
    with pytest.raises(SystemExit):
        read("--config", str(tmp_path / "a.yaml"))
    assert "is not YAML" in capsys.readouterr().err
    assert not witness.exists()


def test_build_makes_sections_and_keeps_choices() -> None:
    output = build({"folder": "x", "section": {"depth": 1}}, target)
    assert output["folder"] == Path("x")
    assert output["section"] == Section(depth=1)
    assert PARTS.build(output["part"]) == ("small", 0.1, 3)
    assert PARTS.build("large", width=3) == ("large", 3)


def test_check_raises_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"some\.yaml: 'folder' is required"):
        check({}, target, "some.yaml")


def test_a_name_cannot_be_taken_twice() -> None:
    with pytest.raises(ConfigError, match="registered already"):
        PARTS.add("small", large)


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        (Count, "int, at least 1"),
        (tuple[Count, ...], "tuple[int, ...]"),
        (tuple[Positive, Positive], "tuple[float, float]"),
        (list[Literal["head", "half"]], "list[head | half]"),
        (Sequence[str] | None, "sequence[str] | none"),
        (dict[str, Any], "dict[str, any]"),
    ],
)
def test_types_are_named_as_people_write_them(hint: Any, name: str) -> None:
    assert type_name(hint) == name
