"""What a picture that answers while you speak costs, and how far its frames are behind the sound (CA-15, CA-16).

    python -m benchmarks.streaming [--seconds 300] [--preset tiny] [--height 64] [--width 64] [--sides 64 96 128 192]
    python -m benchmarks.streaming --preset paper --height 768 --width 512 --device cuda [--half] [--compile]
    python -m benchmarks.streaming --face RUN [--data SHARDS] [--steps 1 2 4 10]

Random weights of the configs' sizes: the time is that of trained ones. Two windows warm each stream up and are not
counted. Three runs:

`parts`: sound as fast as it is taken. Processor time of a frame by part of the stream; of that what is spent in the
networks themselves, and the share of everything else (resampling, hearing, sampling, threads, pictures). `fps` are
frames a second of the clock, `steps` the cost of a window of the head by sampling steps.

`live`: sound in pieces as it is spoken, for `--seconds`. `piece_to_first_frame` is from a piece's arrival to the first
frame of its own time, which waits for the look-ahead; `behind` from the arrival of the last sound that a frame needs. A
piece counts as in time under 0.4 s. Memory is that of the process, the largest of each sixth of the run.

`sides`: the same for `--try-seconds` at growing sizes of pictures, of which the largest is told that keeps all pieces
in time and holds no frame. `--cores` limits the process.

With `--face`, and nothing else, what fewer steps of sampling cost in quality: that run's figures (docs/evaluate.md),
three seeds, by steps. Writes `benchmarks/results/streaming-DATE.json`.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
import yaml
from torch import nn

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from models.chatanyone.body_motion import BodyMotion
from models.chatanyone.face_motion import FaceMotion
from models.chatanyone.face_refine import FaceRefiner
from models.chatanyone.generate import Sampler
from models.chatanyone.head import EXPRESSIONS, IDENTITIES, LANDMARKS, HeadTemplate
from models.chatanyone.portrait import Networks, Person, Portrait
from models.chatanyone.renderer import Renderer
from models.human.keypoints import HANDS
from trainers.chatanyone.live import live_of
from trainers.stream import Stream
from trainers.streaming.loading import threads_of
from trainers.streaming.stream import LATE, Frame

CONFIGS: Final = Path(__file__).resolve().parents[1] / "configs" / "chatanyone"
RATE: Final = 16_000
HANDS_AT, HANDS_MOVE = 0.7, 0.03
"""Fractions of the frame: a random network would have hands all over it, and they take time by their area."""
WANTED: Final = 0.4
"""Seconds from a piece's arrival to its first frame."""


class How(NamedTuple):
    """How is sampled and rendered: steps of both diffusions (None is their own), their sampler, half precision."""

    steps: int | None = None
    sampler: Sampler = "ddim"
    half: bool = False


def sizes(stage: str, preset: str) -> dict[str, Any]:
    """A network's options in a stage's config."""
    paper, own = (
        yaml.safe_load((CONFIGS / stage / f"{name}.yaml").read_text())["stage"]["network"] for name in ("paper", preset)
    )
    return {**paper, **own}


def networks(preset: str, height: int, width: int, parts: set[str], device: torch.device) -> Networks:
    """Networks of random weights that go together; `parts` may name body and refiner."""
    torch.manual_seed(0)
    template = HeadTemplate()
    template.set_shape(
        torch.randn(LANDMARKS, 3) * 0.05,
        torch.randn(EXPRESSIONS, LANDMARKS, 3) * 1e-3,
        torch.randn(IDENTITIES, LANDMARKS, 3) * 1e-3,
        1e-3,
    )
    heard = {"audio": "mel"}  # what a stream hears
    renderer = Renderer(**{**sizes("renderer", preset), "height": height, "width": width})
    made: dict[str, nn.Module | None] = {
        "template": template,
        "face": FaceMotion(**{**sizes("face_motion", preset), **heard}),
        "body": None,
        "renderer": renderer,
        "refiner": None,
    }
    if "body" in parts:
        body = BodyMotion(**{**sizes("body_motion", preset), **heard})
        body.space.hand_mean.fill_(HANDS_AT)
        body.space.hand_std.fill_(HANDS_MOVE)
        made["body"] = body
    if "refiner" in parts:
        made["refiner"] = FaceRefiner(**sizes("face_refine", preset))
    return Networks(**{name: None if one is None else one.to(device).eval() for name, one in made.items()})  # type: ignore[arg-type]


def portrait(made: Networks, steps: int | None = None, sampler: Sampler = "ddim") -> Portrait:
    """Somebody to speak: noise, with a head in its upper middle."""
    renderer = made.renderer
    pose = torch.tensor([0.0, 0.0, 0.0, 0.5 * renderer.width / renderer.height, 0.3, 0.0])
    hands = torch.ones(HANDS.stop - HANDS.start, 3)
    hands[:, :2] = HANDS_AT - 0.1 + 0.2 * torch.rand(len(hands), 2)
    image = torch.rand(3, renderer.height, renderer.width)
    person = Person(image, torch.zeros(EXPRESSIONS), pose, torch.zeros(IDENTITIES), hands)
    return Portrait(made, person, steps=steps, sampler=sampler)


def sound(seconds: float) -> np.ndarray:
    """Noise that comes and goes."""
    count = round(seconds * RATE)
    loud = np.sin(np.arange(count) / RATE * 12).clip(min=0)
    return (0.2 * loud * np.random.default_rng(0).standard_normal(count)).astype(np.float32)


def spoken(made: Networks, how: How, **options: Any) -> Stream:
    """A stream of it, warm: what is made once is made."""
    renderer = made.renderer
    still = np.zeros((renderer.height, renderer.width, 3), np.uint8)
    person, trial = (portrait(made, how.steps, how.sampler) for _ in range(2))
    for number in range(2):
        trial.pictures(trial.move(trial.hear(torch.zeros(0), number)))
    begin = threads_of(made.face.space.mean.device.type)
    return Stream(live_of(person, still, how.half), sound_rate=44_100, begin=begin, **options)


def by_part(made: Networks, how: How, seconds: float) -> dict[str, Any]:
    """Processor time of a frame by part and in the networks themselves, and frames a second."""
    inside: dict[str, float] = {}
    undo = [_timed(module, name, inside) for module, name in _calls(made)]
    stream, said = spoken(made, how), sound(seconds)
    inside.clear()
    frames: list[Frame] = []
    begun, used = time.perf_counter(), time.process_time()
    for start in range(0, len(said), RATE // 5):
        frames += stream.push(said[start : start + RATE // 5], RATE)
    frames += stream.finish()
    wall, used = time.perf_counter() - begun, time.process_time() - used
    for each in undo:
        each()
    count, networks = len(frames), sum(inside.values())
    return {
        "frames": count,
        "fps": round(count / wall, 1),
        "processor_ms_a_frame": round(1000 * used / count, 2),
        "parts_ms_a_frame": {name: round(1000 * each / count, 2) for name, each in stream.counts.seconds.items()},
        "networks_ms_a_frame": round(1000 * networks / count, 2),
        "by_network_ms_a_frame": {name: round(1000 * each / count, 2) for name, each in inside.items()},
        "overhead": round(1 - networks / used, 3),
    }


def by_steps(made: Networks, steps: list[int]) -> dict[str, float]:
    """Milliseconds of the processor for a window of the head by sampling steps."""
    found = {}
    for count in steps:
        person = portrait(made, count)
        heard = person.hear(torch.zeros(0), 0)
        taken = []
        for _ in range(12):
            used = time.process_time()
            person.face(heard)
            taken.append(time.process_time() - used)
        found[str(count)] = round(1000 * statistics.median(taken[2:]), 2)
    return found


def quality(run: str, data: str | None, steps: list[int], sampler: Sampler) -> dict[str, dict[str, dict[str, float]]]:
    """Figures of a trained face motion on its held-out clips, by split and sampling steps: means over three seeds."""
    from trainers.chatanyone.evaluation.face_motion import measure_face_motion
    from trainers.chatanyone.system import FaceMotionOptions
    from trainers.run.exports import find_export

    export = find_export(run)
    shards = data or export.settings["data"]["shards"]
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in steps:
            asked = FaceMotionOptions(shards=shards, steps=count, sampler=sampler, systems=("model", "truth"))
            measured = measure_face_motion(export, asked, Path(folder))
            for split, figures in measured["splits"].items():
                rows = found.setdefault(split, {})
                for name, row in (("truth", "truth"), ("model", str(count))):
                    rows[row] = {each: round(value["mean"], 3) for each, value in figures["systems"][name].items()}
            print(count, found, flush=True)
    return found


def live(made: Networks, how: How, seconds: float, piece: float) -> dict[str, Any]:
    """Delays and memory of a stream at the speed of speech."""
    shown: dict[int, float] = {}
    behind: list[float] = []

    def out(frame: Frame) -> None:
        shown[frame.number] = time.monotonic()
        behind.append(frame.delay)

    stream, said = spoken(made, how, late=LATE, out=out), sound(min(seconds, 60.0))
    step, arrived, memory = round(piece * RATE), [], []
    begun = time.monotonic()
    count = round(seconds / piece)
    for number in range(count):
        time.sleep(max(0.0, begun + (number + 1) * piece - time.monotonic()))
        arrived.append(time.monotonic())
        start = number * step % (len(said) - step + 1)
        stream.push(said[start : start + step], RATE, arrived[-1])
        memory.append(_resident())
    fps = stream.fps
    stream.finish()
    counts = stream.counts
    delays = []
    for number, moment in enumerate(arrived[: -round(1 / piece) - 1]):
        first = -(-round(number * piece * fps * 1000) // 1000)
        delays.append(shown[first] - moment)
    sixths = [float(max(part)) for part in np.array_split(np.array(memory), 6) if len(part)]
    return {
        "seconds": seconds,
        "piece_seconds": piece,
        "piece_to_first_frame": _spread(delays),
        "behind": _spread(behind),
        "in_time": round(float(np.mean(np.array(delays) < WANTED)), 4),
        "held_frames": counts.late,
        "frames": counts.frames,
        "memory_mib_by_sixth": [round(each, 1) for each in sixths],
        "growth_mib": round(sixths[-1] - sixths[min(1, len(sixths) - 1)], 1),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "p99": round(float(np.percentile(values, 99)), 3),
        "largest": round(max(values), 3),
    }


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _calls(made: Networks) -> list[tuple[nn.Module, str]]:
    calls = [(made.face, "forward"), (made.renderer, "render"), (made.body, "forward"), (made.refiner, "refine")]
    return [(module, name) for module, name in calls if module is not None]


def _timed(module: nn.Module, name: str, inside: dict[str, float]) -> Callable[[], None]:
    """Count the processor time that a thread spends in a method, of which none calls another; what undoes it."""
    method, key = getattr(module, name), type(module).__name__  # each is called by one thread

    def timed(*arguments: Any, **options: Any) -> Any:
        begun = time.thread_time()
        try:
            return method(*arguments, **options)
        finally:
            inside[key] = inside.get(key, 0.0) + time.thread_time() - begun

    setattr(module, name, timed)
    return lambda: delattr(module, name)


def main() -> None:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--preset", default="tiny", choices=("tiny", "paper"))
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--without", nargs="*", default=[], choices=("body", "refiner"), help="parts left out")
    parser.add_argument("--seconds", type=float, default=300.0, help="of the live run")
    parser.add_argument("--piece", type=float, default=0.2, help="seconds of sound in a piece")
    parser.add_argument("--sides", type=int, nargs="*", default=[96, 128, 192, 256], help="square pictures to try")
    parser.add_argument("--try-seconds", type=float, default=20.0, help="of each of them")
    parser.add_argument("--steps", type=int, nargs="*", default=[1, 2, 4, 10])
    parser.add_argument("--face", help="run of chatanyone.face_motion whose figures are taken by steps")
    parser.add_argument("--data", help="its shards, where they were moved")
    parser.add_argument("--sampler", default="ddim", choices=("ddim", "dpm"))
    parser.add_argument("--sampling-steps", type=int, help="of the runs; left out, the networks' own")
    parser.add_argument("--half", action="store_true", help="half precision of renderer and refiner")
    parser.add_argument("--compile", action="store_true", help="torch.compile of the networks")
    parser.add_argument("--cores", type=int, nargs="*", help="numbers of the cores that the process may use")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, options.cores)
    if options.face:
        figures = quality(options.face, options.data, options.steps, options.sampler)
        print(write_result("streaming-steps", {"machine": describe(), "options": vars(options), "figures": figures}))
        return
    device, parts = torch.device(options.device), {"body", "refiner"} - set(options.without)
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 2))

    how = How(options.sampling_steps, options.sampler, options.half)

    def made_at(height: int, width: int) -> Networks:
        made = networks(options.preset, height, width, parts, device)
        if options.compile:
            for module, name in _calls(made):
                setattr(module, name, torch.compile(getattr(module, name)))
        return made

    made = made_at(options.height, options.width)
    result: dict[str, Any] = {
        "machine": describe(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "options": vars(options),
        "parts": by_part(made, how, 20.0),
        "steps_ms_a_window": by_steps(made, options.steps),
    }
    print(result["parts"], result["steps_ms_a_window"], flush=True)
    result["live"] = live(made, how, options.seconds, options.piece)
    print(result["live"], flush=True)
    result["sides"], largest = {}, None
    for side in options.sides:
        found = live(made_at(side, side), how, options.try_seconds, options.piece)
        result["sides"][str(side)] = found
        held = found["in_time"] == 1.0 and not found["held_frames"]
        print(f"{side} x {side}: {'in time' if held else 'too slow'}, {found['piece_to_first_frame']}", flush=True)
        if not held:
            break
        largest = side
    result["largest_side_in_time"] = largest
    print(write_result("streaming", result))


if __name__ == "__main__":
    main()
