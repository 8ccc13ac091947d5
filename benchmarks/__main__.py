"""Run benchmarks in turn: `python -m benchmarks [NAME ...]`, all of them without a name. Each writes a dated file into
`benchmarks/results/`.

A machine with other work on it measures that work; the load is written beside the figures.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

BENCHMARKS = (
    "smga",
    "mamba",
    "implicit_motion",
    "video",
    "guidance",
    "streaming",
    "versa_tokenizer",
    "versa",
    "smplx_fit",
    "framework_tax",
    "loader",
    "preprocessing",
    "startup",
    "checkpoints",
    "distributed",
    "gpu",
)
LONG = ("soak",)  # takes hours: by name only


def main(names: Sequence[str]) -> int:
    """0 when every benchmark ran through, 2 for a name that there is not."""
    if {"-h", "--help"} & set(names):
        print(
            "usage: python -m benchmarks [NAME ...]\n\n"
            "Runs benchmarks in turn, all but the long ones without a name; each writes a dated file into\n"
            "benchmarks/results/. `python -m benchmarks.NAME --help` lists the options of one.\n\n"
            f"names: {', '.join(BENCHMARKS)}\nlong: {', '.join(LONG)}"
        )
        return 0
    unknown = [name for name in names if name not in BENCHMARKS + LONG]
    if unknown:
        print(f"no benchmark '{unknown[0]}'; there are {', '.join(BENCHMARKS + LONG)}", file=sys.stderr)
        return 2
    failed = []
    for name in names or BENCHMARKS:
        if name == "preprocessing" and not os.environ.get("COSPEECH_MEDIA"):
            print("preprocessing: needs real clips; name a folder that has videos/ with COSPEECH_MEDIA", flush=True)
            continue
        if name == "gpu" and not names and not _has_gpu():
            print("gpu: there is none here", flush=True)
            continue
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
