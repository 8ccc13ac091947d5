"""Implicit motion's second stage: speech and a picture to motion features of the frozen base network."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from datamodules.shards.samples import WHOLE
from models.diffusion.weighting import loss_weight
from models.implicit_motion.generate import generate
from models.implicit_motion.motion import PRECEDING, MotionDiffusion
from models.implicit_motion.motion_loss import motion_diffusion_loss
from pretrained.exports import find_stage
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Fraction, NonNegative
from trainers.implicit_motion.features import STAGE, FrozenBase, measure, spoken_of
from trainers.stage.agreement import Expected, frame_rate, made_by, picture_size, window_length
from trainers.stage.base import LossStage, both, build_network, check_chances, check_sampling
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES


class MotionStage(LossStage):
    """Trains the diffusion of motion features (IM-12 to IM-16).

    Args:
        network: the network's own options.
        base: run folder, saved network or hub name of the base network; with cached features it may be left out.
        features: "cached" reads them from `implicit.npz` (`python -m preprocessing.features`); "video" lets the base
            network make them of the frames in every step.
        drop_speech: probability of training without speech, for classifier-free guidance.
        self_condition: probability that an earlier pass of the network gives the preceding frames.
        continued: probability that a window goes on from the true frames before it, as in long generation.
        weighting: how much each diffusion step counts in the loss of the noise; "uniform" is the paper's.
        lambda_mse: weight of the error of the x0 estimate.
        lambda_velocity: weight of the error of its first differences.
        lambda_acceleration: weight of the error of its second differences.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or a base network that cannot be used.
    """

    network: MotionDiffusion

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(MotionDiffusion, given=("motion_channels",), global_speech="clip")] = DEFAULTS,
        base: str | None = None,
        features: Literal["cached", "video"] = "cached",
        drop_speech: Fraction = 0.1,
        self_condition: Fraction = 0.5,
        continued: Fraction = 0.5,
        weighting: Literal["uniform", "min_snr"] = "uniform",
        lambda_mse: NonNegative = 1.0,
        lambda_velocity: NonNegative = 1.0,
        lambda_acceleration: NonNegative = 1.0,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        check_chances(drop_speech=drop_speech, self_condition=self_condition, continued=continued)
        if features == "video" and base is None:
            raise ConfigError("stage.features=video needs the network that makes them: give stage.base")
        export = None if base is None else find_stage(base, "base", STAGE)
        self.base_sha256 = "" if export is None else export.sha256
        self.base = FrozenBase(export) if export is not None and features == "video" else None
        self.network = build_network(MotionDiffusion, {"global_speech": "clip", **network})
        check_sampling(self.network)
        output = None if self.base is None else self.base.network.appearance_channels
        reads = self.network.appearance_channels
        if output is not None and self.network.appearance is not None and output != reads:
            raise ConfigError(
                f"stage.network.appearance_channels is {reads}, but the network of stage.base makes {output}: set "
                f"stage.network.appearance_channels={output}"
            )
        sound = ("audio.flac",) if self.network.audio == "raw" else ("speech.npz", "audio.flac")
        if self.network.reads_clip:
            sound += (f"{WHOLE}{sound[0]}",)
        self.needs = ("video.mp4" if features == "video" else "implicit.npz", *sound)  # type: ignore[misc]
        self.drop_speech, self.self_condition, self.continued = drop_speech, self_condition, continued
        self.weighting = weighting
        self.lambdas = {
            "lambda_mse": lambda_mse, "lambda_velocity": lambda_velocity, "lambda_acceleration": lambda_acceleration,
        }  # fmt: skip

    def expects(self) -> list[Expected]:
        """Frame rate and window; of frames the base network's size, of cached features their maker and its F_A."""
        expected = [frame_rate(self.network.fps), window_length(self.network.window)]
        channels = self.network.appearance_channels
        if self.base is not None:
            size = self.base.network.image_size
            return [*expected, picture_size(size, f"the network of stage.base reads {size} x {size} pixels")]
        if self.base_sha256:
            expected.append(made_by("implicit.npz", self.base_sha256, "stage.base"))
        appearance = Expected(
            "appearance_channels",
            channels,
            f"stage.network.appearance_channels is {channels}",
            "the features of data.shards have {} (the base network that made them says so)",
            "set stage.network.appearance_channels={}, or make features with a base network of another size",
        )
        return [*expected, appearance] if self.network.appearance is not None else expected

    def use_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Take the index's statistics, those of cached features among them."""
        if self.base is not None and statistics.get("implicit", {}).get("network") != self.base_sha256:
            statistics = {name: value for name, value in statistics.items() if not name.startswith("implicit")}
        super().use_statistics(statistics)
        if self.base is not None:
            return
        if "implicit" not in statistics:
            raise ConfigError(
                "data.shards has no implicit.npz: make shards with it by `python -m preprocessing.features`, or set "
                "stage.features=video"
            )

    def on_train_start(self) -> None:
        """Measure the features that the base network makes, unless a checkpoint brought the figures."""
        if self.base is not None and not self.network.space.known:
            self.network.space.set_moments(*measure(self.base, self))
            self.network.space.set_base(self.base_sha256)

    def figures(self) -> tuple[str, ...]:
        """The loss and its terms."""
        return both("loss", "loss_simple", "loss_mse", "loss_velocity", "loss_acceleration")

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """The windows made from their first frames and speech, `video` (B, T, 3, S, S); none of cached features."""
        if self.base is None:
            return {}
        motion, appearance = self._features(batch, torch.zeros(len(batch), dtype=torch.long, device=self.device))
        output = generate(
            self.network,
            motion[:, 0],
            appearance,
            self._speech(batch),
            seed=self.seed,
            spoken=spoken_of(batch, self.network),
        )
        return {"video": self.base.render(batch.video[:, 0], output)}

    def step(self, batch: Any, part: str) -> Tensor:
        """The loss of one batch; logs it with its parts."""
        random, size = self.generator(batch), len(batch)
        lengths = torch.full((size,), self.network.window, device=self.device)
        lengths = lengths if batch.lengths is None else batch.lengths
        # Half of the windows start from the source picture's pose, the others find it anywhere.
        frame = torch.where(random.uniform() < 0.5, (random.uniform() * lengths).long(), 0)
        motion, appearance = self._features(batch, frame)
        source = motion[torch.arange(size, device=self.device), frame]
        x0 = self.network.space.encode(motion, source)
        before, x0 = x0[:, :PRECEDING], x0[:, PRECEDING : x0.shape[1] - self.network.after]
        continued = random.uniform() < self.continued
        timesteps = self.network.noise.draw(random)
        noise = random.normal(*x0.shape[1:])
        output = self.network(
            self.network.noise.add(x0, noise, timesteps),
            timesteps,
            source,
            appearance,
            self._speech(batch),
            before * continued[:, None, None],
            self_condition=random.uniform() < self.self_condition,
            drop_speech=random.uniform() < self.drop_speech,
            spoken=spoken_of(batch, self.network),
        )
        frames = torch.arange(PRECEDING, PRECEDING + x0.shape[1], device=self.device)
        losses = motion_diffusion_loss(
            output.noise, noise, output.x0, x0, before,
            known=frames < lengths[:, None],
            continued=continued,
            weight=loss_weight(self.weighting, self.network.noise, timesteps, "epsilon"),
            **self.lambdas,
        )  # fmt: skip
        self.log_each(part, losses, size)
        return losses["loss"]

    def _features(self, batch: Any, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Motion features (B, T, 768), and the appearance (B, A) of one frame of each window, or of its clip."""
        if self.base is None:
            return batch.arrays["implicit"]["motion"], batch.arrays["implicit"]["appearance"]
        pictures = batch.video[torch.arange(len(batch), device=self.device), frame]
        return self.base.motion(batch.video), self.base.appearance(pictures)

    def _speech(self, batch: Any) -> Tensor:
        return batch.audio if self.network.audio == "raw" else batch.speech
