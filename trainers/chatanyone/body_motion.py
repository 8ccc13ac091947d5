"""ChatAnyone's body motion: the head's key points, speech and a picture to offsets, body key points and hands."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from models.chatanyone.body_motion import BodyConditions, BodyMotion
from models.chatanyone.body_motion_space import BodyMoves
from models.chatanyone.renderer import FrameMotion
from models.diffusion.weighting import Weighting, loss_weight
from models.human.keypoints import HANDS
from models.losses.motion import difference_loss
from pretrained.exports import find_stage
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Count, Fraction, NonNegative
from trainers.stage.agreement import Expected, channels, frame_rate, made_by, window_at_least
from trainers.stage.base import LossStage, both, build_network, check_chances, check_sampling
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES

RENDERER = "chatanyone.renderer"
KEY = "chatanyone.npz"


class BodyMotionStage(LossStage):
    """Trains the diffusion of what moves the renderer beside the head (CA-7).

    Of each window of the data several short ones are learnt, each with the heads in it, what is heard and what was
    before it. The picture is any frame of the data's window.

    Args:
        network: the network's own options.
        renderer: run folder, saved network or hub name of the renderer whose features the clips hold; where given,
            shards made with another one are refused.
        targets: windows of the network that are learnt of each window of the data.
        drop_audio: probability of training without speech, for classifier-free guidance.
        started: probability that a window is the first of all: nothing was before it, and nothing was said.
        unsure: largest deviation of the noise that is put on preceding motion, in units of the numbers' usual movement:
            what a window goes on from later is the network's own, and not quite right.
        unsure_heads: likewise of the noise on heads, which `face_motion` makes later.
        offset_weight: of the loss of the head's offsets.
        body_weight: of the loss of the body's movement, scale and place.
        hand_weight: of the loss of the hands.
        weighting: how much each diffusion step counts; "uniform" is the paper's.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or no such renderer.
    """

    network: BodyMotion

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(BodyMotion)] = DEFAULTS,
        renderer: str | None = None,
        targets: Count = 4,
        drop_audio: Fraction = 0.1,
        started: Fraction = 0.1,
        unsure: NonNegative = 0.3,
        unsure_heads: NonNegative = 0.1,
        offset_weight: NonNegative = 1.0,
        body_weight: NonNegative = 1.0,
        hand_weight: NonNegative = 1.0,
        weighting: Weighting = "uniform",
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adam",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        check_chances(drop_audio=drop_audio, started=started)
        self.renderer_sha256 = "" if renderer is None else find_stage(renderer, "renderer", RENDERER).sha256
        self.network = build_network(BodyMotion, network)
        check_sampling(self.network)
        layers = self.network.audio == "layers"
        self.needs = (KEY, "pose.npz", "speech.npz" if layers else "audio.flac")  # type: ignore[misc]
        if layers:
            self.speech_layers = (1, self.network.layer_channels)
        self.targets, self.started, self.drop_audio = targets, started, drop_audio
        self.unsure, self.unsure_heads, self.weighting = unsure, unsure_heads, weighting
        self.weights = {"offset": offset_weight, "body": body_weight, "hands": hand_weight}

    @property
    def least(self) -> int:
        """Frames that a window of the data has to have: for what is heard and remembered."""
        network = self.network
        return max(network.history, network.preceding) + network.window + network.look_ahead

    def expects(self) -> list[Expected]:
        """Frame rate, window, the renderer, and the channels of its features and of the speech recogniser's layers."""
        network = self.network
        expected = [frame_rate(network.fps), window_at_least(self.least, "what stage.network needs together")]
        if self.renderer_sha256:
            expected.append(made_by(KEY, self.renderer_sha256, "stage.renderer"))
        expected += [
            channels(name, getattr(network, name), KEY) for name in ("movement_channels", "appearance_channels")
        ]
        if network.audio == "layers":
            expected.append(channels("layer_channels", network.layer_channels, "speech.npz"))
        return expected

    def figures(self) -> tuple[str, ...]:
        """The loss, and its parts."""
        return both("loss", *(name for name, weight in self.weights.items() if weight))

    def use_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Take the index's statistics of the features.

        Raises:
            ConfigError: it has none, or those of another number of key points.
        """
        if "chatanyone" not in statistics:
            raise ConfigError(
                f"the index of data.shards has no statistics of {KEY}: make it with `python -m preprocessing.features "
                "writer=chatanyone`, of shards with clips in the split train"
            )
        try:
            self.network.set_statistics(dict(statistics))
        except ValueError as error:
            raise ConfigError(f"data.shards: {error}; set stage.network.movement_channels") from None

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """Nothing: what moves a renderer is no picture."""
        return {}

    def step(self, batch: Any, part: str) -> Tensor:
        """The loss of one batch (Eq. 1), each part the mean over its own numbers; logs them."""
        random, network = self.generator(batch), self.network
        x0, known, given = self._windows(batch, random)
        timesteps = random.integers(0, network.noise.train_steps, self.targets).flatten()
        noise = random.normal(self.targets, *x0.shape[1:]).flatten(0, 1)
        noisy = network.noise.add(x0, noise, timesteps)
        dropped = (random.uniform(self.targets) < self.drop_audio).flatten()
        output = network(noisy, timesteps, given, dropped)
        target = network.preconditioning.target(x0, noise, network.noise.scales(timesteps, x0))
        weight = loss_weight(self.weighting, network.noise, timesteps, network.predict)
        losses = {
            name: difference_loss(output[..., where], target[..., where], known[..., where], weight=weight)
            for name, where in network.space.groups.items()
            if self.weights[name]
        }
        loss = torch.stack([self.weights[name] * each for name, each in losses.items()]).sum()
        self.log_each(part, {"loss": loss, **losses}, len(batch))
        return loss

    def _windows(self, batch: Any, random: Any) -> tuple[Tensor, Tensor, BodyConditions]:
        """`targets` windows of each of the batch's (N, W, C), which numbers are known (N, W, C), their conditions."""
        network, many = self.network, self.targets
        space, arrays = network.space, batch.arrays["chatanyone"]
        size, frames = arrays["head"].shape[:2]
        movement = arrays["movement"].unflatten(-1, (network.movement_channels // 3, 3))
        move = FrameMotion(arrays["offset"], movement, arrays["scale"], arrays["place"])
        moves = BodyMoves(move, batch.pose[:, :, HANDS])
        # Half of the windows start from the picture's own frame, the others find it anywhere.
        anywhere = (random.uniform() * frames).long().clamp(max=frames - 1)
        at = (torch.arange(size, device=self.device), torch.where(random.uniform() < 0.5, anywhere, 0))
        picture = BodyMoves(FrameMotion(*(part[at] for part in moves.move)), moves.hands[at])
        whole, known = space.encode(moves, picture)
        seen = (arrays["seen"] > 0)[..., None]
        known = torch.cat([known[..., space.groups["offset"]] & seen, known[..., space.groups["offset"].stop :]], -1)
        heads = space.encode_heads(arrays["head"], arrays["head"][at])
        heard = network.hear(batch.speech_layers if network.audio == "layers" else batch.audio, frames)

        back = max(network.history, network.preceding)
        last = frames - network.window - network.look_ahead
        begin = back + (random.uniform(many) * (last - back + 1)).long().clamp(max=last - back)  # (B, many)

        def cut(values: Tensor, start: Tensor, length: int) -> Tensor:
            places = start[..., None] + torch.arange(length, device=self.device)
            return values[at[0][:, None, None], places].flatten(0, 1)

        first = (random.uniform(many) < self.started).flatten()
        audio = cut(heard, begin - network.history, network.heard)
        silent = torch.arange(network.heard, device=self.device) < network.history
        audio = torch.where((first[:, None] & silent)[..., None], network.silence, audio)
        faces = cut(heads, begin - network.preceding, network.preceding + network.window)
        unseen = torch.arange(faces.shape[1], device=self.device) < network.preceding
        faces = torch.where((first[:, None] & unseen)[..., None], 0.0, faces)  # the picture's own head
        faces = faces + self._noise(random, self.unsure_heads, faces)
        before = cut(whole, begin - network.preceding, network.preceding)
        before = before + self._noise(random, self.unsure, before) * space.mask
        given = BodyConditions(
            audio,
            faces,
            arrays["appearance"].repeat_interleave(many, 0),
            space.encode_picture(arrays["head"][at], picture).repeat_interleave(many, 0),
            before,
            ~first,
        )
        return cut(whole, begin, network.window), cut(known, begin, network.window), given

    def _noise(self, random: Any, most: float, like: Tensor) -> Tensor:
        """Noise of another deviation for each window."""
        deviation = most * random.uniform(self.targets).flatten()[:, None, None]
        return deviation * random.normal(self.targets, *like.shape[1:]).flatten(0, 1)
