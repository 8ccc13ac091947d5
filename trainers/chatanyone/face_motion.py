"""ChatAnyone's face motion: speech to expression and pose of the head."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from torch import Tensor

from models.chatanyone.face_motion import FaceMotion
from models.diffusion.weighting import Weighting, loss_weight
from models.losses.motion import difference_loss
from pretrained.exports import find_stage
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Count, Fraction, NonNegative
from trainers.chatanyone.face_windows import WindowOptions, windows
from trainers.stage.agreement import Expected, frame_rate, made_by, window_at_least
from trainers.stage.base import LossStage, build_network, check_chances, check_sampling
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES

TEMPLATE: Final = "chatanyone.head"


class FaceMotionStage(LossStage):
    """Trains the diffusion of head motion (CA-4, CA-5, CA-6).

    Of each window of the data several short ones are learnt, each with what is heard and what was before it; how far
    the head moves in all of the data's window is the range that it is told, and another part of it the reference.

    Args:
        network: the network's own options.
        template: folder or hub name of the head template that the clips' coefficients are of; where given, shards made
            with another one are refused.
        targets: windows of the network that are learnt of each window of the data.
        drop_audio: probability of training without speech, for classifier-free guidance.
        drop_ranges: probability of training without a range, of each of the two dials.
        drop_reference: probability of training without a reference.
        started: probability that a window is the first of all: nothing was before it, and nothing was said.
        amplitude: by how much motion is enlarged or shrunk at most, as a power of e, so that dials are told apart from
            what is said; 0 for never.
        unsure: largest deviation of the noise that is put on preceding motion, usual spreads: what a window goes on
            from later is the network's own, and not quite right.
        weighting: how much each diffusion step counts; "uniform" is the paper's.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or no such template.
    """

    network: FaceMotion

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(FaceMotion)] = DEFAULTS,
        template: str | None = None,
        targets: Count = 4,
        drop_audio: Fraction = 0.1,
        drop_ranges: Fraction = 0.2,
        drop_reference: Fraction = 0.5,
        started: Fraction = 0.1,
        amplitude: NonNegative = 0.5,
        unsure: NonNegative = 0.3,
        weighting: Weighting = "uniform",
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adam",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        check_chances(drop_audio=drop_audio, drop_ranges=drop_ranges, drop_reference=drop_reference, started=started)
        self.template_sha256 = "" if template is None else find_stage(template, "template", TEMPLATE).sha256
        self.network = build_network(FaceMotion, network)
        check_sampling(self.network)
        self.needs = ("head.npz", "speech.npz" if self.network.audio == "layers" else "audio.flac")  # type: ignore[misc]
        if self.network.audio == "layers":
            self.speech_layers = (1, self.network.layer_channels)
        self.targets, self.drop_audio, self.weighting = targets, drop_audio, weighting
        self.windows = WindowOptions(targets, drop_ranges, drop_reference, started, amplitude, unsure)

    @property
    def least(self) -> int:
        """Frames that a window of the data has to have: for what is heard and remembered, and a reference beside it."""
        network = self.network
        back = max(network.history, network.preceding)
        return max(back + network.window + network.look_ahead, 2 * network.reference_frames + network.window)

    def expects(self) -> list[Expected]:
        """Frame rate, window, the maker of the coefficients, and the channels of the speech recogniser's layers."""
        network = self.network
        expected = [
            frame_rate(network.fps),
            window_at_least(self.least, "what stage.network and its reference need together"),
        ]
        if self.template_sha256:
            expected.append(made_by("head.npz", self.template_sha256, "stage.template"))
        if network.audio == "layers":
            expected.append(
                Expected(
                    "layer_channels",
                    network.layer_channels,
                    f"stage.network.layer_channels is {network.layer_channels}",
                    "the layers of speech of data.shards have {} channels",
                    "set stage.network.layer_channels={}, or stage.network.audio=mel, which needs none",
                )
            )
        return expected

    def use_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Take the index's statistics of the coefficients.

        Raises:
            ConfigError: it has none.
        """
        if "head" not in statistics:
            raise ConfigError(
                "the index of data.shards has no statistics of head.npz: make it with `python -m "
                "preprocessing.features writer=head`, of shards with clips in the split train"
            )
        self.network.set_statistics(dict(statistics))

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """Nothing: coefficients are no picture."""
        return {}

    def step(self, batch: Any, part: str) -> Tensor:
        """The loss of one batch (Eq. 1); logs it."""
        random, network = self.generator(batch), self.network
        x0, known, given = windows(network, batch, random, self.windows)
        timesteps = random.integers(0, network.noise.train_steps, self.targets).flatten()
        noise = random.normal(self.targets, *x0.shape[1:]).flatten(0, 1)
        noisy = network.noise.add(x0, noise, timesteps)
        dropped = (random.uniform(self.targets) < self.drop_audio).flatten()
        output = network(noisy, timesteps, given, dropped)
        target = network.preconditioning.target(x0, noise, network.noise.scales(timesteps, x0))
        weight = loss_weight(self.weighting, network.noise, timesteps, network.predict)
        loss = difference_loss(output, target, known.expand_as(target), weight=weight)
        self.log(f"{part}/loss", loss.detach(), batch_size=len(batch))
        return loss
