"""What one GPU does with this project, part by part, the most important first.

    python -m benchmarks.gpu [--parts smga adan ...] [--shards FOLDER] [--out FOLDER] [--cpu --tiny]

| part | what |
|---|---|
| `smga` | SMGA `paper` by the training command, bf16 and fp32: step, MFU and memory beside the plan |
| `adan` | the optimiser's step over lists of tensors, beside tensor by tensor, the library's and AdamW's |
| `trainings` | every stage's `tiny` config: first losses beside the CPU's, bf16 and fp16, stop and resume, memory |
| `stages` | training steps of the other stages' `paper` configs, beside their plans |
| `implicit_motion` | seconds for a second of video, as IM-20 counts them |
| `mamba` | the selective scan and a Mamba layer |
| `profile` | where a step of SMGA `paper` spends its time |
| `tests` | the tests of models, training and engines, with the GPU there |
| `portrait` | the base network for some minutes at 128 pixels: PSNR of held-out clips beside the source frame held |

Each part is a process of its own with a time limit, so that one that fails or hangs is recorded and the next goes on;
what it had measured until then is kept. Operations are counted on the meta device by the planner; MFU is operations /
(step x the GPU's peak in that precision), and is what the planner should be given as `mfu=`. `trainings` and `portrait`
read `--shards`: a folder with `talking` and `motion`, made with the synthetic speakers and motions where it is not
there. Without a GPU it ends with status 2; `--cpu --tiny` goes the same way at sizes that a CPU takes, and records
nothing. Writes `benchmarks/results/gpu-DATE.json`; `--out` gets a copy, and what each part printed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.arguments import Parser
from benchmarks.gpu_speed import planned_for
from benchmarks.machine import describe, write_result
from benchmarks.ranks import ROOT

PARTS: Final = {
    "smga": ("benchmarks.gpu_speed", 300),
    "adan": ("benchmarks.gpu_speed", 90),
    "trainings": ("benchmarks.gpu_trainings", 400),
    "stages": ("benchmarks.gpu_speed", 300),
    "implicit_motion": ("benchmarks.gpu_speed", 120),
    "mamba": ("benchmarks.gpu_speed", 120),
    "profile": ("benchmarks.gpu_speed", 120),
    "tests": ("benchmarks.gpu_tests", 300),
    "portrait": ("benchmarks.gpu_trainings", 300),
}
"""Part to the module that measures it, and the seconds that it may take."""

NO_GPU: Final = (
    "no GPU here: torch finds no CUDA device. `--cpu --tiny` tries the same way on the CPU; its figures say nothing"
)


def run_part(name: str, out: Path, seconds: float, words: list[str]) -> dict[str, Any]:
    """One part in a process of its own; its rows, how it ended, and how long it took. Output goes to `OUT/NAME.log`."""
    rows, started = out / f"{name}.jsonl", time.monotonic()
    rows.unlink(missing_ok=True)
    with (out / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", PARTS[name][0], name, "--rows", str(rows), *words],
            cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(seconds)
            ended = "done" if status == 0 else f"ended with {status}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # with what it has started itself
            process.wait()
            ended = f"stopped after {seconds:.0f} s"
    found: dict[str, Any] = {}
    for line in rows.read_text(encoding="utf-8").splitlines() if rows.exists() else []:
        found |= json.loads(line)
    return {"ended": ended, "seconds": round(time.monotonic() - started, 1), "rows": found}


def main(argv: list[str] | None = None) -> int:
    """Command line; 0, 1 where a part failed, or 2 where there is no GPU."""
    parser = Parser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--shards", type=Path, help="folder with talking/ and motion/; made where it is not there")
    parser.add_argument("--out", type=Path, help="folder for logs and a copy of the result")
    parser.add_argument("--limit", type=float, default=1.0, help="factor of the parts' time limits")
    parser.add_argument("--tiny", action="store_true", help="small networks and few steps, nothing recorded")
    parser.add_argument("--cpu", action="store_true", help="on the CPU; goes with --tiny")
    options = parser.parse_args(argv)
    if not options.cpu and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 2
    if options.cpu and not options.tiny:
        print("--cpu wants --tiny: the papers' sizes are for a GPU", file=sys.stderr)
        return 2
    words = [f"--{name}" for name in ("cpu", "tiny") if getattr(options, name)]
    if options.shards is not None:
        words += ["--shards", str(options.shards.absolute())]
    device = "cpu" if options.cpu else torch.cuda.get_device_name()
    about = {"machine": describe(), "device": device, "cuda": torch.version.cuda, "seed": 0}
    result: dict[str, Any] = about | {"planned_as": planned_for(device), "parts": {}}
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        for name in options.parts:
            result["parts"][name] = run_part(name, out, options.limit * PARTS[name][1], words)
            text = json.dumps(result, indent=1)
            (out / "gpu.json").write_text(text + "\n", encoding="utf-8")  # as far as it is
            print(f"{name}: {json.dumps(result['parts'][name])}", flush=True)
            if result["parts"][name]["ended"] != "done":
                print("\n".join((out / f"{name}.log").read_text(encoding="utf-8").splitlines()[-15:]), flush=True)
    if not options.tiny:
        print(write_result("gpu", result))
    failed = [name for name, part in result["parts"].items() if part["ended"] != "done"]
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
