"""The container recipes are sound as far as that shows without building them, and say the same."""

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.containers.recipes import (
    DEFINITION,
    DOCKERFILE,
    ROOT,
    SCRIPTS,
    apt_packages,
    commands,
    definition,
    instructions,
)

LABELS = ("title", "description", "licenses")


def lint(file: Path) -> subprocess.CompletedProcess[str]:
    labels = [word for label in LABELS for word in ("--require-label", f"org.opencontainers.image.{label}:text")]
    hadolint = Path(sys.executable).parent / "hadolint"
    return subprocess.run(
        [hadolint, "--no-color", "--strict-labels", "--failure-threshold", "style", *labels, file],
        capture_output=True,
        text=True,
    )


def docker(name: str) -> list[str]:
    return [rest for word, rest in instructions(DOCKERFILE.read_text()) if word == name]


def apptainer(section: str) -> str:
    return definition(DEFINITION.read_text())[1][section]


def copied_by_docker() -> dict[str, str]:
    """Path in the checkout to path in the image."""
    found = {}
    for rest in docker("COPY"):
        *sources, target = rest.split()
        for source in sources:
            found[source] = f"/opt/cospeech/{source if target == './' else target}"
    return found


def copied_by_apptainer() -> dict[str, str]:
    return dict(tuple(shlex.split(line)) for line in apptainer("files").splitlines() if line.strip())


def test_hadolint_finds_nothing() -> None:
    done = lint(DOCKERFILE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("python:3.11-slim-bookworm", "python", "DL3006"),
        ("install --yes", "install", "DL3014"),
        ("--no-cache-dir --constraint", "--constraint", "DL3042"),
        ("org.opencontainers.image.licenses", "org.opencontainers.image.vendor", "DL3049"),
    ],
)
def test_hadolint_would_find_what_is_wrong(tmp_path: Path, old: str, new: str, rule: str) -> None:
    text = DOCKERFILE.read_text()
    assert old in text
    (tmp_path / "Dockerfile").write_text(text.replace(old, new))
    done = lint(tmp_path / "Dockerfile")
    assert done.returncode == 1
    assert rule in done.stdout


def test_sections_of_the_definition_are_known_and_its_scripts_parse() -> None:
    header, sections = definition(DEFINITION.read_text())
    assert header == {"Bootstrap": "docker", "From": docker("FROM")[0]}
    assert {"post", "files", "environment", "runscript", "test", "labels", "help"} == set(sections)
    for name in SCRIPTS:
        if name in sections:
            done = subprocess.run(["bash", "-n"], input=sections[name], capture_output=True, text=True)
            assert done.returncode == 0, f"%{name}: {done.stderr}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Bootstrap: docker\n%pots\n", "no such section: %pots"),
        ("%post\n%post\n", "comes twice: %post"),
        ("Botstrap: docker\n%post\n", "no header"),
    ],
)
def test_a_definition_with_a_slip_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        definition(text)


def test_a_failing_command_fails_the_build() -> None:
    assert commands(apptainer("post"))[0] == ["set", "-eu"]


def test_both_copy_the_same_files_to_the_same_place_and_they_exist() -> None:
    assert copied_by_docker() == copied_by_apptainer()
    assert [source for source in copied_by_docker() if not (ROOT / source).exists()] == []


def test_the_whole_code_is_copied() -> None:
    """And passes .dockerignore, which keeps all else out of the image."""
    setup = ast.parse((ROOT / "setup.py").read_text())
    (rooms,) = (ast.literal_eval(each.value) for each in setup.body if ast.unparse(each).startswith("ROOMS = "))
    assert {*rooms, "configs", "slurm"} == {source for source in copied_by_docker() if (ROOT / source).is_dir()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"pyproject.toml", "setup.py", "constraints.txt", project["readme"], *project["license-files"]} < set(
        copied_by_docker()
    )
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied_by_docker())


def test_system_packages_are_those_of_ci() -> None:
    install = next(rest for rest in docker("RUN") if "apt-get" in rest)
    assert apt_packages(install) == apt_packages(apptainer("post"))
    ci = re.search(r"^for library in (.+); do$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert ci is not None
    missing = set(ci[1].split()) - apt_packages(install)
    assert missing == {"make", "slurm-wlm", "munge", "iproute2", "chromium"}  # wanted by `make test` alone
    assert apt_packages(install) - set(ci[1].split()) == {"g++", "libibverbs1", "ibverbs-providers"}


def test_both_install_the_environment_in_the_same_way() -> None:
    def python(script: str) -> list[list[str]]:
        return [words for words in commands(script) if words[0] == "python"]

    install = next(rest for rest in docker("RUN") if "constraints.txt" in rest)
    assert python(install) == python(apptainer("post"))
    project, opencv, _ = python(install)
    assert project[-3:] == ["--constraint", "constraints.txt", "."]
    pattern = re.search(r"grep '(.+)'", opencv[-1])
    assert pattern is not None
    assert len(re.findall(pattern[1], (ROOT / "constraints.txt").read_text(), re.M)) == 1


def test_both_start_the_training_command_with_the_same_environment() -> None:
    assert json.loads(docker("ENTRYPOINT")[0]) == ["python", "-m", "trainers.fit"]
    assert commands(apptainer("runscript"))[-1] == ["exec", "python", "-m", "trainers.fit", "$@"]
    ours = dict(word.split("=", 1) for word in docker("ENV")[0].split())
    theirs = dict(words[1].split("=", 1) for words in commands(apptainer("environment")))
    assert ours.pop("XDG_CACHE_HOME") == "/tmp/cache"  # Apptainer's users have a home
    assert theirs.pop("PYTHONNOUSERSITE") == "1"  # and in it, perhaps, packages of their own
    assert ours == theirs
    assert docker("WORKDIR") == [ours["PYTHONPATH"]]


def test_docker_does_not_run_as_root_and_may_write_its_runs() -> None:
    names = [word for word, _ in instructions(DOCKERFILE.read_text())]
    assert docker("USER") == ["1000"]
    assert "RUN" not in names[names.index("USER") :]
    user = next(words for rest in docker("RUN") for words in commands(rest) if words[0] == "useradd")
    assert user[user.index("--uid") + 1] == "1000"


def test_labels_are_the_same_and_those_of_the_project() -> None:
    ours = dict(word.split("=", 1) for word in shlex.split(docker("LABEL")[0]))
    theirs = dict(line.strip().split(" ", 1) for line in apptainer("labels").splitlines() if line.strip())
    assert ours == theirs
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [ours[f"org.opencontainers.image.{label}"] for label in LABELS] == [
        project["name"],
        project["description"],
        project["license"],
    ]
