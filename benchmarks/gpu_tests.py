"""The part of `benchmarks.gpu` that runs tests beside a GPU: those that need one, and a selection of the quick ones."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.gpu_rows import Options, Row, run
from benchmarks.ranks import ROOT

CHOSEN: Final = {
    "need a GPU": ["tests", "-m", "gpu"],
    "models": ["tests/models", "-m", "not slow"],
    "training": ["tests/trainers", "tests/metrics", "-m", "not slow"],
}


def tests_part(options: Options) -> Iterator[Row]:
    """Which tests fail here; their tracebacks are in the log."""
    chosen = {"need a GPU": ["tests/models/test_fused_scan.py", "-m", "gpu"]} if options.tiny else CHOSEN
    for name, words in chosen.items():
        yield name, partial(_run, words)


def _run(words: list[str]) -> dict[str, Any]:
    junit = Path(f"{words[0].replace('/', '-')}.junit.xml").absolute()
    try:
        subprocess.run(
            [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-n", "6", "--junitxml", junit, *words],
            cwd=ROOT, check=False,
        )  # fmt: skip
        cases = list(ElementTree.parse(junit).getroot().iter("testcase"))
    finally:
        junit.unlink(missing_ok=True)
    wrong = [
        f"{case.get('classname')}::{case.get('name')}: {bad.get('message', '')[:160]}"
        for case in cases
        for bad in case
        if bad.tag in ("failure", "error")
    ]
    skipped = sum(1 for case in cases if case.find("skipped") is not None)
    return {"tests": len(cases), "skipped": skipped, "wrong": wrong}


if __name__ == "__main__":
    raise SystemExit(run({"tests": tests_part}))
