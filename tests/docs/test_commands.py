"""Every command that the documentation shows is one: its options are known and its values are of their types."""

import importlib
import os
import re
import shlex
from pathlib import Path

import pytest

from cospeech.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "containers/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
OWN = re.compile(r"^(?:\w+=\S+ +)*(?:\.venv/bin/)?(?:(?P<python>python -m )|(?P<tool>cospeech|make|sbatch) )")
BY_MODULE = {one.module: one for one in COMMANDS.values()}


def commands() -> list[tuple[str, str]]:
    """(page and line, command) of everything that is indented or fenced and begins as a command of ours."""
    found = []
    for page in PAGES:
        lines = page.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            text, after = line.strip().removeprefix("$ "), number
            shown = line.startswith("    ") or "```" in "".join(lines[max(0, number - 12) : number])
            if not (OWN.match(text) and shown):
                continue
            while text.endswith("\\"):
                text, after = f"{text[:-1]} {lines[after].strip()}", after + 1
            found.append((f"{page.relative_to(ROOT)}:{number}", text))
    return found


def words_of(text: str) -> list[str]:
    """The words behind the command, without what optional parts and comments say."""
    text = re.sub(r"<[^>]*>", "X", re.sub(r"\[--.*", "", text))
    words = shlex.split(text, comments=True)
    for sign in ("|", ">", "&&", "&"):
        words = words[: words.index(sign)] if sign in words else words
    return [word for word in words if "$" not in word]  # what a shell would put in is not known


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_chores_that_sentences_name_are_there():
    named = {
        (page.name, chore)
        for page in (*PAGES, ROOT / "CHANGELOG.md")
        for chore in re.findall(r"`make\s([a-z-]+)", page.read_text(encoding="utf-8"))
    }
    assert {"demo", "demo-video", "test-slow", "proofs"} <= {chore for _, chore in named}
    assert {chore for _, chore in named} <= targets(), named


@pytest.mark.parametrize(("place", "text"), commands(), ids=[place for place, _ in commands()])
def test_a_command_of_the_documentation_is_one(place, text, tmp_path, monkeypatch, capsys):
    words = words_of(text)
    while re.fullmatch(r"\w+=\S*", words[0]):
        words.pop(0)
    tool, *words = words
    if tool == "make":
        assert {word for word in words if "=" not in word} <= targets()
        return
    if tool == "sbatch":
        assert any((ROOT / word).is_file() for word in words)
        return
    if tool == "cospeech":
        assert words[0].startswith("--") or words[0] in COMMANDS
        if words[0].startswith("--"):
            return
        one, words = COMMANDS[words[0]], words[1:]
    else:
        module, *words = words[1:]
        if module.startswith("benchmarks"):
            assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file() or (ROOT / module).is_dir()
            return
        assert module in BY_MODULE, f"{module} is no command"
        one = BY_MODULE[module]
    (tmp_path / "my.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    os.symlink(ROOT / "configs", tmp_path / "configs")
    words = ["configs/mmgt/smga/tiny.yaml" if word == "CONFIG" else word for word in words]
    module, _, name = one.main.partition(":")
    with pytest.raises(SystemExit) as ended:
        getattr(importlib.import_module(module), name)([*words, "--print-config"])
    assert ended.value.code == 0, f"{place}: {capsys.readouterr().err}"


def test_most_pages_show_commands():
    assert len(commands()) > 60
