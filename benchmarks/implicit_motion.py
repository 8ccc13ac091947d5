"""How long implicit motion takes for one second of video, as the paper counts it (IM-20).

    python -m benchmarks.implicit_motion [--base RUN] [--motion RUN] [--repeats 3] [--half] [--device auto]

One second is 25 frames. Image to image: the driving frames' motion is read and the picture is moved by it. Audio to
video: motion is generated from one second of speech with the network's own number of steps, and the picture moved by
it. The picture is encoded once and counted; decoding and writing of files is not. A first run each way warms up and
is not counted. Without runs the `paper` configs are taken with random weights: the time is the same. The paper's
machine is not stated. Writes `benchmarks/results/implicit_motion-DATE.json`.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from models.implicit_motion import ImplicitMotion
from models.implicit_motion.base import SourceFeatures
from models.implicit_motion.generate import generate
from models.implicit_motion.motion import MotionDiffusion
from trainers.animation.frames import half_precision
from trainers.animation.options import Frames

FPS = 25
PAPER = {"image to image": 1.322, "audio to video": 1.515}


def seconds_of(act: Callable[[], Any], device: torch.device, repeats: int) -> list[float]:
    """Wall time of each repeat, after one that does not count."""
    taken = []
    for repeat in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        act()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if repeat:
            taken.append(time.perf_counter() - start)
    return taken


@torch.no_grad()
def measure(
    base: ImplicitMotion, diffusion: MotionDiffusion, device: torch.device, repeats: int, half: bool = False
) -> dict[str, Any]:
    """Seconds for one second of video, both ways."""
    size = base.image_size
    image, driving = torch.rand(1, 3, size, size, device=device), torch.rand(FPS, 3, size, size, device=device)
    speech = torch.randn(1, *((16_000,) if diffusion.audio == "raw" else (FPS, 35)), device=device)

    def render(source: SourceFeatures, motion: torch.Tensor) -> None:
        for part in motion.split(Frames().batch):
            base.render(source, part[None])

    def image_to_image() -> None:
        with half_precision(device, half):
            render(
                base.encode_source(image),
                torch.cat([base.encode_motion(part) for part in driving.split(Frames().batch)]),
            )

    def audio_to_video() -> None:
        with half_precision(device, half):
            source = base.encode_source(image)
            render(source, generate(diffusion, source.motion.float(), source.appearance.float(), speech)[0])

    result = {}
    for name, act in (("image to image", image_to_image), ("audio to video", audio_to_video)):
        taken = seconds_of(act, device, repeats)
        result[name] = {"seconds": [round(one, 3) for one in taken], "median": round(statistics.median(taken), 3)}
    return result


def networks(base: str | None, motion: str | None, device: torch.device) -> tuple[ImplicitMotion, MotionDiffusion]:
    """Trained networks, or random ones of the papers' sizes, which are the constructors' defaults."""
    output = ImplicitMotion.from_pretrained(base, strict=True) if base else ImplicitMotion()
    diffusion = MotionDiffusion.from_pretrained(motion, strict=True) if motion else MotionDiffusion()
    return output.to(device).eval(), diffusion.to(device).eval()


def main() -> None:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--base")
    parser.add_argument("--motion")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--half", action="store_true", help="half precision")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device(options.device)
    found = measure(*networks(options.base, options.motion, device), device, options.repeats, options.half)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    about = {"machine": describe(), "device": name, "half": options.half, "seed": 0, "paper_seconds": PAPER}
    about |= {"base": options.base or "random weights", "motion": options.motion or "random weights"}
    print(found)
    print(write_result("implicit_motion", {**about, **found}))


if __name__ == "__main__":
    main()
