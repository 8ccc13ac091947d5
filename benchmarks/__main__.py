"""Run every benchmark in turn: `python -m benchmarks`. Each writes a dated file into `benchmarks/results/`.

A machine with other work on it measures that work; the load is written beside the figures.
"""

import os
import subprocess
import sys

BENCHMARKS = ("smga", "framework_tax", "loader", "preprocessing")


def main() -> int:
    """0 when every benchmark ran through."""
    failed = []
    for name in BENCHMARKS:
        if name == "preprocessing" and not os.environ.get("COSPEECH_MEDIA"):
            print("preprocessing: needs real clips; name a folder that has videos/ with COSPEECH_MEDIA", flush=True)
            continue
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
