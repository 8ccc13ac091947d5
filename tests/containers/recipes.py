"""Reading the two recipes: the Dockerfile and the Apptainer definition."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "containers" / "Dockerfile"
DEFINITION = ROOT / "containers" / "cospeech.def"
SECTIONS = (
    "setup", "files", "post", "test", "environment", "startscript", "runscript", "labels", "help",
)  # fmt: skip
SCRIPTS = ("setup", "post", "test", "environment", "startscript", "runscript")


def instructions(text: str) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile, lines that are continued joined, comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def definition(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Header and sections of an Apptainer definition.

    Raises:
        ValueError: a section that Apptainer does not know or that comes twice, or a line of no use before the first.
    """
    header: dict[str, str] = {}
    sections: dict[str, str] = {}
    name = None
    for line in text.splitlines():
        if line.startswith("%"):
            name = line[1:].strip()
            if name not in SECTIONS:
                raise ValueError(f"no such section: %{name}")
            if name in sections:
                raise ValueError(f"section comes twice: %{name}")
            sections[name] = ""
        elif name is not None:
            sections[name] += line + "\n"
        elif line.strip() and not line.startswith("#"):
            key, colon, value = line.partition(":")
            if not colon or key not in ("Bootstrap", "From"):
                raise ValueError(f"no header: {line}")
            header[key] = value.strip()
    return header, sections


def commands(script: str) -> list[list[str]]:
    """Words of each command of a script of plain commands; `&&` counts as a new line."""
    script = re.sub(r"\\\n\s*", "", script)
    found = []
    for line in re.split(r"\n|&&", script):
        words = shlex.split(line, comments=True)
        if words:
            found.append(words)
    return found


def apt_packages(script: str) -> set[str]:
    """What a script installs with apt-get."""
    (words,) = (words for words in commands(script) if "apt-get" in words and "install" in words)
    return {word for word in words[words.index("install") + 1 :] if not word.startswith("-")}
