"""Parts of `benchmarks.gpu` that tell how fast steps are, and how much memory they take."""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from benchmarks import implicit_motion, mamba
from benchmarks.gpu_rows import Options, Row, run, seconds, steady_seconds, wait
from benchmarks.ranks import smga, train
from models.mmgt import SMGA
from trainers.plan import plan, training_config
from trainers.planning.gpus import GPUS, named
from trainers.planning.measure import SIXTEEN
from trainers.planning.samples import sample_batch
from trainers.planning.time import peak
from trainers.stage.adan import Adan, _update
from trainers.stages import STAGES

PAPER: Final[dict[str, Any]] = {
    "width": 512, "layers": 8, "heads": 8, "feedforward": 1024, "window": 80, "block_feedforward": False,
    "audio_channels": 1059,
}  # fmt: skip
TINY: Final[dict[str, Any]] = {
    "width": 32, "layers": 2, "heads": 2, "feedforward": 64, "window": 16, "block_feedforward": False,
    "audio_channels": 43,
}  # fmt: skip
BF16: Final = "trainer.precision=bf16-mixed"
CASES: Final[dict[str, tuple[tuple[str, ...], dict[str, str]]]] = {
    "bf16": ((BF16, "strategy=auto"), {}),
    "bf16, gradient checkpointing": ((BF16, "strategy=auto", "gradient_checkpointing=true"), {}),
    "bf16, deepspeed_2": ((BF16, "strategy=deepspeed_2"), {}),
    "fp32": (("trainer.precision=32-true", "strategy=auto"), {}),
    "fp32 by tf32": (("trainer.precision=32-true", "strategy=auto"), {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}),
    "bf16, compiled": ((BF16, "strategy=auto", "compile.enabled=true"), {}),
}
"""SMGA's trainings: words of the command line, and environment."""

STAGES_TIMED: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "implicit_motion.base": ("implicit_motion/base", ("data.batch_size=8",)),
    "implicit_motion.motion": ("implicit_motion/motion", ("data.batch_size=64",)),
    "versa.tokenizer": ("versa/tokenizer", ("data.batch_size=256",)),
    "versa.text_motion": ("versa/text_motion", ("data.batch_size=64", "stage.network.text=words")),
    "versa.audio_motion": ("versa/audio_motion", ("data.batch_size=64", "stage.network.text=words")),
    "versa.evaluator": ("versa/evaluator", ("data.batch_size=128", "stage.network.text=words")),
    "human.pose_autoencoder": ("human/pose_autoencoder", ("data.batch_size=128",)),
}
"""Stage to the folder of its configs, and what is changed: the whole batch on one GPU, and no CLIP, whose weights are
nowhere here."""


def planned_for(device: str) -> str:
    """The planner's name of a CUDA device, by what CUDA calls it; the H100 for those it does not know."""
    card = named(device)
    return card.name if card else "h100"


def beside_plan(config: dict[str, Any], device: str, took: float, peak_bytes: int | None, batch: int) -> dict[str, Any]:
    """A step beside its plan: milliseconds, operations, MFU, and peak bytes of both.

    Args:
        config: of the training, resolved.
        device: as CUDA names it; "cpu" gives no MFU.
        took: seconds of a step.
        peak_bytes: of CUDA's allocator.
        batch: windows of the step.
    """
    card = planned_for(device)
    expected = plan(config, gpus=1, gpu=card)
    rate = expected.operations / took
    return {
        "device": device,
        "batch": batch,
        "parameters": expected.parameters,
        "step_ms": round(1000 * took, 3),
        "windows_per_second": round(batch / took, 1),
        "tera_operations": round(expected.operations / 1e12, 4),
        "mfu": None if device == "cpu" else round(rate / peak(GPUS[card], config["trainer"]["precision"]), 4),
        "peak_bytes": {"counted": peak_bytes, "planned": round(expected.total)},
    }


def smga_part(options: Options) -> Iterator[Row]:
    """SMGA `paper` by the training command, on one batch again and again."""
    size, batch, steps = (TINY, 2, 8) if options.tiny else (PAPER, 256, 50)

    def case(name: str) -> dict[str, Any]:
        words, environment = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            found = train(
                Path(folder) / "run", *smga("timed", **size, batch=batch), *words, "trainer.devices=1",
                f"trainer.accelerator={'gpu' if options.on_gpu else 'cpu'}", f"trainer.max_steps={steps}",
                "checkpoint.every_n_steps=1000000", threads=2 if options.on_gpu else 1, environment=environment,
            )[0]  # fmt: skip
        stage = [f"stage.network.{key}={value}" for key, value in size.items()]
        config = training_config(None, ["stage=mmgt.smga", *stage, *words, f"data.batch_size={batch}"])
        took = statistics.median(found["seconds"][2:])
        return beside_plan(config, found["device"], took, found["peak_bytes"], batch)

    for name in CASES:
        if not (options.tiny and "compiled" in name):
            yield name, partial(case, name)


def adan_part(options: Options) -> Iterator[Row]:
    """Adan over SMGA's weights: all ways get the same gradients, and have to agree with the library's."""
    torch.manual_seed(0)
    network = SMGA(**{**(TINY if options.tiny else PAPER)}).to(options.device)
    start = [p.detach().clone() for p in network.parameters()]
    gradients = [torch.randn_like(p) for p in start]
    settings = {"lr": 2e-4, "betas": (0.98, 0.92, 0.99), "eps": 1e-8, "weight_decay": 0.02}

    def library(foreach: bool) -> Callable[[list[nn.Parameter]], torch.optim.Optimizer]:
        from pytorch_optimizer import Adan as LibraryAdan

        return lambda params: LibraryAdan(params, **settings, weight_decouple=False, foreach=foreach)

    ways: dict[str, Callable[[], Callable[[list[nn.Parameter]], Any]]] = {
        "lists of tensors": lambda: lambda params: Adan(params, **settings),
        "tensor by tensor": lambda: lambda params: OneByOne(params, **settings),
        "the library's": lambda: library(False),
        "the library's over lists": lambda: library(True),
        "AdamW, fused": lambda: lambda params: torch.optim.AdamW(params, lr=2e-4, fused=True),
        "AdamW, over lists": lambda: lambda params: torch.optim.AdamW(params, lr=2e-4, foreach=True),
    }
    reference: list[Tensor] = []

    def way(name: str) -> dict[str, Any]:
        params = [nn.Parameter(p.clone()) for p in start]
        optimizer = ways[name]()(params)
        for _ in range(3):
            for p, gradient in zip(params, gradients, strict=True):
                p.grad = gradient.clone()  # the library's turns signs in it
            optimizer.step()
        found: dict[str, Any] = {}
        if "AdamW" not in name:
            after = [p.detach().clone() for p in params]
            if not reference:
                reference.extend(after)
            moved = torch.cat([(r - s).flatten() for r, s in zip(reference, start, strict=True)]).norm()
            apart = torch.cat([(a - r).flatten() for a, r in zip(after, reference, strict=True)]).norm()
            found["apart_of_the_way"] = float(apart / moved)
            assert found["apart_of_the_way"] < 1e-4, f"{name} goes elsewhere than the first"
        held = torch.cuda.memory_allocated() if options.on_gpu else 0
        if options.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        found["ms"] = round(1000 * steady_seconds(optimizer.step, options.device, 5 if options.tiny else 40), 3)
        if options.on_gpu:
            found["mib_made_on_the_way"] = round((torch.cuda.max_memory_allocated() - held) / 2**20, 1)
        return found | {"tensors": len(params), "parameters": sum(p.numel() for p in params)}

    for name in ways:
        yield name, partial(way, name)


class OneByOne(Adan):
    """The same arithmetic, tensor after tensor, as most optimisers are written first."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step of all parameters."""
        for group in self.param_groups:
            group["step"] = group.get("step", 0) + 1
            for p in group["params"]:
                _update(*([tensor] for tensor in self._tensors(p)), group=group)


class Trained:
    """A stage and its optimisers without a trainer, which takes one step after the other on one random batch.

    Args:
        config: of the training, resolved.
        device: where it is.
    """

    def __init__(self, config: dict[str, Any], device: torch.device):
        torch.manual_seed(0)
        size = int(config["data"]["batch_size"])
        self.stage: Any = STAGES.build(dict(config["stage"])).train()
        self.batch = sample_batch(self.stage.needs, config["data"], config["stage"], size, "cpu").to(device)
        if self.batch.video is not None:
            self.batch.video.random_(0, 256)
        self.stage.to(device)
        self.stage.log = self.stage.log_dict = lambda *args, **kwargs: None
        self.stage.update = self._update
        dtype, precision = SIXTEEN.get(config["trainer"]["precision"]), device.type
        self._autocast = partial(torch.autocast, precision, dtype) if dtype else nullcontext
        self._clip = config["trainer"]["gradient_clip_val"]
        self._optimizers = {
            name: torch.optim.AdamW([p for p in part.parameters() if p.requires_grad], lr=1e-5)
            for name, part in self.stage.parts().items()
        }

    def step(self) -> None:
        """Forward, loss, backward, clipping and the optimiser's step."""
        with self._autocast():
            loss = self.stage.training_step(self.batch, 0)
        if self.stage.automatic_optimization:
            self._update("network", loss)

    def _update(self, part: str, loss: Tensor) -> None:
        optimizer = self._optimizers[part]
        optimizer.zero_grad()
        loss.backward()
        if (
            hasattr(self.stage, "on_before_optimizer_step")
            and part == "network"
            and "quantizer" in dir(self.stage.network)
        ):
            self.stage.on_before_optimizer_step(optimizer)
        if self._clip:
            nn.utils.clip_grad_norm_(self.stage.parts()[part].parameters(), self._clip)
        optimizer.step()


def stages_part(options: Options) -> Iterator[Row]:
    """Training steps of the papers' configs, without loader, averages and trainer, in fp32 and bf16."""
    with tempfile.TemporaryDirectory() as folder:
        vgg = _random_vgg(Path(folder)) if not options.tiny else None
        for name, (place, words) in STAGES_TIMED.items():
            for precision in ("bf16-mixed", "32-true"):
                yield f"{name}, {precision}", partial(_stage_row, options, name, place, words, precision, vgg)


def _stage_row(
    options: Options, name: str, place: str, words: tuple[str, ...], precision: str, vgg: str | None
) -> dict[str, Any]:
    more = [f"trainer.precision={precision}", "ema.enabled=false", "data.global_batch=null", *words]
    if options.tiny:
        more += ["data.batch_size=2"]
    elif name == "implicit_motion.base":
        more += [f"stage.vgg_weights={vgg}"]
    config = training_config(f"{place}/{'tiny' if options.tiny else 'paper'}", more)
    if options.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    trained = Trained(config, options.device)
    took = steady_seconds(trained.step, options.device, 2 if options.tiny else 12, warm=1 if options.tiny else 4)
    used = torch.cuda.max_memory_allocated() if options.on_gpu else None
    device = torch.cuda.get_device_name() if options.on_gpu else "cpu"
    size = int(config["data"]["batch_size"])
    return beside_plan(config, device, took, used, size)


def _random_vgg(folder: Path) -> str:
    """A file of random weights for VGG-19: the time is the same."""
    import timm
    from safetensors.torch import save_file

    features = timm.create_model("vgg19").features.state_dict()
    path = folder / "vgg19.safetensors"
    save_file({f"features.{name}": value for name, value in features.items()}, path)
    return str(path)


def implicit_motion_part(options: Options) -> Iterator[Row]:
    """IM-20: a second of video from pictures, and from speech."""
    if options.tiny:
        base, diffusion = (
            STAGES.build(training_config(f"implicit_motion/{name}/tiny", [])["stage"]).network.to(options.device).eval()
            for name in ("base", "motion")
        )
    else:
        base, diffusion = implicit_motion.networks(None, None, options.device)
    for half in (False, True):
        yield (
            "half precision" if half else "full precision",
            partial(implicit_motion.measure, base, diffusion, options.device, 1 if options.tiny else 5, half),
        )


def mamba_part(options: Options) -> Iterator[Row]:
    """The selective scan against others, and a layer."""
    import argparse

    device = options.device.type
    asked = argparse.Namespace(
        batch=1 if options.tiny else 4, width=32 if options.tiny else 512, states=16, repeats=1 if options.tiny else 7
    )
    rate = mamba.copy_rate(device) if options.on_gpu else None

    def scan(length: int) -> dict[str, Any]:
        row = mamba.measure(length, asked, device)
        if rate:
            least = mamba.least_bytes(asked.batch, length, asked.width, asked.states) / rate
            row["share_of_bandwidth"] = round(1000 * least / row["ms"]["ours"], 4)
        return row

    for length in (64,) if options.tiny else (1_000, 4_000, 16_000):
        yield f"scan of {length} steps", partial(scan, length)
    yield "layer", lambda: {"ms": mamba.layer_ms(asked, device, 64 if options.tiny else 2_000)}
    if rate:
        yield "copy", lambda: {"gb_per_second": round(rate / 1e9, 1)}


def profile_part(options: Options) -> Iterator[Row]:
    """A step of SMGA `paper` in bf16 taken apart: kernels, what the CPU does meanwhile, and the noise's share."""
    size, batch = (TINY, 2) if options.tiny else (PAPER, 256)
    stage = [f"stage.network.{key}={value}" for key, value in size.items()]
    words = ["stage=mmgt.smga", *stage, BF16, f"data.batch_size={batch}", f"data.window={size['window']}"]
    trained = Trained(training_config(None, words), options.device)

    def step() -> dict[str, Any]:
        from torch.profiler import ProfilerActivity, profile

        took = steady_seconds(trained.step, options.device, 3 if options.tiny else 20)
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if options.on_gpu else [])]
        with profile(activities=activities) as found:
            for _ in range(2):
                trained.step()
            wait(options.device)
        table = found.key_averages()
        if not options.on_gpu:
            print(table.table(sort_by="self_cpu_time_total", row_limit=15))
            return {"step_ms": round(1000 * took, 3)}
        print(table.table(sort_by="self_cuda_time_total", row_limit=30, max_name_column_width=80))
        print(table.table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=60))
        kernels = [event for event in table if event.device_type == torch.autograd.DeviceType.CUDA]
        busy = sum(event.self_device_time_total for event in kernels) / 2e6
        top = sorted(kernels, key=lambda event: -event.self_device_time_total)[:12]
        return {
            "step_ms": round(1000 * took, 3),
            "kernels": sum(event.count for event in kernels) // 2,
            "kernels_ms": round(1000 * busy, 3),
            "most_ms": {event.key[:80]: round(event.self_device_time_total / 2e3, 3) for event in top},
        }

    def noise() -> dict[str, Any]:
        shape = (size["window"], 402)

        def draw() -> None:
            random = trained.stage.generator(trained.batch)
            random.integers(0, 1000), random.normal(*shape), random.uniform()

        return {"ms": round(1000 * seconds(draw, options.device, 10), 3)}

    yield "noise of a step", noise
    yield "step", step


if __name__ == "__main__":
    raise SystemExit(
        run(
            {
                "smga": smga_part, "adan": adan_part, "stages": stages_part, "implicit_motion": implicit_motion_part,
                "mamba": mamba_part, "profile": profile_part,
            }
        )
    )  # fmt: skip
