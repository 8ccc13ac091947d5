"""MMGT's first stage: audio and a first pose to a pose sequence."""

from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from models.diffusion.weighting import loss_weight
from models.mmgt.generate import generate
from models.mmgt.loss import smga_loss
from models.mmgt.smga import HANDCRAFTED, SMGA
from models.mmgt.speech import join_speech
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Fraction, NonNegative
from trainers.stage.agreement import Expected, frame_rate, window_length
from trainers.stage.base import LossStage, both, build_network, check_chances, check_sampling
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES


class SMGAStage(LossStage):
    """Trains SMGA to predict clean poses from noisy ones (MMGT-9, MMGT-10; Algorithm 2, lines 1 to 18).

    Args:
        network: the network's own options.
        drop_audio: probability of training without audio, for classifier-free guidance.
        lambda_face: weight of the face's loss.
        lambda_body: weight of the body's loss.
        face_loss: "own" is the paper's; its ablation without face loss is "off", which leaves the face out, or
            "general", one loss over all key points in place of the two.
        weighting: how much each diffusion step counts.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together.
    """

    needs: ClassVar[tuple[str, ...]] = ("pose.npz", "speech.npz", "audio.flac")
    network: SMGA

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(SMGA)] = DEFAULTS,
        drop_audio: Fraction = 0.25,
        lambda_face: NonNegative = 3.0,
        lambda_body: NonNegative = 1.0,
        face_loss: Literal["own", "off", "general"] = "own",
        weighting: Literal["uniform", "min_snr"] = "uniform",
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adan",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        check_chances(drop_audio=drop_audio)
        for name, value in (("lambda_face", lambda_face), ("lambda_body", lambda_body)):
            if not value > 0:
                instead = "; without the face's loss is stage.face_loss=off (or general)" if "face" in name else ""
                raise ConfigError(f"stage.{name} has to be above 0, got {value:g}{instead}")
        self.network = build_network(SMGA, network)
        check_sampling(self.network)
        self.drop_audio, self.weighting = drop_audio, weighting
        self.losses: dict[str, Any] = {
            "lambda_face": lambda_face,
            "lambda_body": lambda_body,
            "face_loss": face_loss,
        }

    def expects(self) -> list[Expected]:
        """Frame rate, window, and as many speech features as the network reads."""
        wanted = len(self.network.audio_mean)
        expected = [frame_rate(self.network.fps), window_length(self.network.window)]
        if wanted > HANDCRAFTED:
            expected.append(
                Expected(
                    "layer_channels",
                    wanted - HANDCRAFTED,
                    f"stage.network.audio_channels is {wanted}, {HANDCRAFTED} hand-crafted ones and "
                    f"{wanted - HANDCRAFTED} of a pretrained speech model",
                    "the clips of data.shards have {} of such a model",
                    f"set stage.network.audio_channels to {HANDCRAFTED} more than that (handcrafted.yaml reads none), "
                    "or preprocess with such a model "
                    '("speech=[handcrafted, {{name: transformers, model: NAME}}]")',
                )
            )
        return expected

    def figures(self) -> tuple[str, ...]:
        """The loss, and those of face and body."""
        return both("loss", "loss_face", "loss_body")

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """Poses generated for the batch's speech from its first poses, (B, T, 134, 3)."""
        return {"pose": generate(self.network, batch.pose[:, 0], self._speech(batch), seed=self.seed)}

    def step(self, batch: Any, part: str) -> Tensor:
        """The loss of one batch; logs it with its parts."""
        random = self.generator(batch)
        x0, known, condition = self._encode(batch, random)
        timesteps = self.network.noise.draw(random)
        noisy = self.network.noise.add(x0, random.normal(*x0.shape[1:]), timesteps)
        without_audio = random.uniform() < self.drop_audio
        predicted = self.network(noisy, timesteps, condition, self._speech(batch), without_audio)
        weight = loss_weight(self.weighting, self.network.noise, timesteps, "x0")
        losses = smga_loss(predicted, x0, known, weight=weight, **self.losses)
        self.log_each(part, losses, len(batch))
        return losses["loss"]

    def _encode(self, batch: Any, random: Any) -> tuple[Tensor, Tensor, Tensor]:
        """x0 and where it is known, each (B, T, 402), and the first poses as condition (B, 402)."""
        pose, size = batch.pose, len(batch)
        lengths = torch.full((size,), pose.shape[1], device=pose.device) if batch.lengths is None else batch.lengths
        frame = torch.zeros(size, dtype=torch.long, device=pose.device)
        if self.network.reference == "any":
            frame = torch.where(random.uniform() < 0.5, (random.uniform() * lengths).long(), frame)
        first_pose = pose[torch.arange(size, device=pose.device), frame]
        x0, known = self.network.poses.encode(pose, first_pose)
        there = torch.arange(pose.shape[1], device=pose.device) < lengths[:, None]  # the rest is padding
        return x0, known & there[..., None], self.network.poses.condition(first_pose)

    def _speech(self, batch: Any) -> Tensor:
        wanted = len(self.network.audio_mean)
        speech = join_speech(batch.speech, batch.speech_layers if wanted > HANDCRAFTED else None)
        if speech.shape[-1] != wanted:
            raise ConfigError(
                f"stage.network.audio_channels is {wanted}, but the clips give {speech.shape[-1]} speech features a "
                f"frame; set stage.network.audio_channels={speech.shape[-1]}, or make shards with the speech model's "
                "features as well (`python -m preprocessing.run ... speech=[handcrafted,{name: transformers, model: "
                "microsoft/wavlm-large, layers: [-1]}]`); configs/mmgt/smga/handcrafted.yaml needs none"
            )
        return speech
