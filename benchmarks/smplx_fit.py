"""Speed and exactness of the SMPL-X fit on bodies that are known.

    python -m benchmarks.smplx_fit [--frames 250] [--seeds 3] [--quick]

The body model is the tests' own, made from published anthropometry in the official file format and of the official
size; its pose correctives are not zero, so that they cost what the licensed model's cost. Key points of random poses
(`tests.preprocessing.known_bodies`) go through the fit as the step calls it, in one thread; the model's loading and a
short fit that warms up are not counted. 2D errors are against the points before the noise, as a share of the body's
height in the picture; 3D errors are of the 22 body joints after Procrustes alignment of every frame. Processor
seconds are given beside wall seconds, because other work on the machine stretches the latter. Writes
`benchmarks/results/smplx-fit-DATE.json`.
"""

import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from models.human.body_model import BodyModel, load_body_model
from models.human.keypoints import BODY, FACE, HANDS
from preprocessing.smplx.fit import STAGES, fit
from tests.preprocessing.body_model_file import write_body_model
from tests.preprocessing.known_bodies import FOCAL, HEIGHT, WIDTH, aligned_error, known_clip

FPS = 25.0
CASES: dict[str, dict[str, Any]] = {
    "no noise": {},
    "noise 1 %": {"noise": 0.01},
    "noise 1 %, 15 % missing": {"noise": 0.01, "missing": 0.15},
    "from behind, noise 0.5 %": {"noise": 0.005, "yaw": 3.0},
    "turning round, noise 0.5 %": {"noise": 0.005, "turning": 6.0},
    "half body, noise 0.5 %": {"noise": 0.005, "half": True},
}


def measure(model: BodyModel, options: dict[str, Any], frames: int, seed: int) -> dict[str, float]:
    """One clip."""
    clip = known_clip(model, frames=frames, seed=seed, **options)
    clean = known_clip(model, frames=frames, seed=seed, **(options | {"noise": 0.0, "missing": 0.0}))
    wall, busy = time.perf_counter(), time.process_time()
    found = fit(model, clip.keypoints, clip.scores, WIDTH, HEIGHT, FPS, FOCAL)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    size = FOCAL * model.height / np.linalg.norm(clip.joints[:, 0], axis=-1)
    far = np.linalg.norm((found.points - clean.keypoints) * (1, HEIGHT / WIDTH), axis=-1) / size[:, None]
    visible = clean.scores > 0
    errors = {
        f"error_{name}": float(far[:, part][visible[:, part]].mean())
        for name, part in (("body", BODY), ("hands", HANDS), ("face", FACE))
    }
    return {
        "frames_per_second": frames / wall,
        "frames_per_processor_second": frames / busy,
        **errors,
        "procrustes_mm": 1000 * aligned_error(found.joints[:, :22], clip.joints[:, :22]),
    }


def main() -> None:
    """Measure, print, keep."""
    parser = Parser(description=__doc__)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="short clips, one seed, nothing written")
    arguments = parser.parse_args()
    frames, seeds = (40, 1) if arguments.quick else (arguments.frames, arguments.seeds)
    with tempfile.TemporaryDirectory() as folder:
        model = load_body_model(write_body_model(Path(folder) / "SMPLX_NEUTRAL.npz", correctives=1e-5))
    measure(model, {}, 5, 0)  # the first call of every operator is slow
    rows = []
    for name, options in CASES.items():
        runs = [measure(model, options, frames, 100 + seed) for seed in range(seeds)]
        rows.append({"case": name, **{key: round(statistics.median(run[key] for run in runs), 5) for key in runs[0]}})
        row = rows[-1]
        print(
            f"{name:28} {row['frames_per_second']:6.1f} frames/s ({row['frames_per_processor_second']:.1f} a "
            f"processor second), body {row['error_body']:.2%} hands {row['error_hands']:.2%} "
            f"face {row['error_face']:.2%}, 3D {row['procrustes_mm']:.0f} mm",
            flush=True,
        )
    result = {
        "machine": describe() | {"smplx": version("smplx")},
        "settings": {
            "frames": frames,
            "fps": FPS,
            "seeds": list(range(100, 100 + seeds)),
            "picture": f"{WIDTH} x {HEIGHT}",
            "iterations": [stage.iterations for stage in STAGES],
            "threads": 1,
        },
        "cases": rows,
        "goals": {"error": 0.01},
    }
    if not arguments.quick:
        print(f"written to {write_result('smplx-fit', result)}")


if __name__ == "__main__":
    main()
