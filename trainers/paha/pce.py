"""The classifiers of parts consistency enhancement (PAHA, 4.1.3): of the face, and of all but it."""

from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from models.paha.classifier import PCEClassifier
from models.paha.pairs import draw_parts, draw_wrong
from models.paha.regions import Region, region_mask
from models.paha.univdm import UniVDM, UniVDMInputs
from models.video.latents import sampled
from models.video.speech import windows_at
from pretrained.exports import find_stage, load_network
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Count, Fraction, NonNegative, Positive
from trainers.paha.pair_measures import PairMeasures
from trainers.stage.agreement import Expected, frame_rate, made_by, whole_clips
from trainers.stage.base import LossStage, both, build_network, check_chances
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES
from trainers.video.batch import speech_of

Negatives = Literal["distilled", "mismatched", "both"]


class PCEStage(LossStage):
    """Trains a classifier of picture and speech on pairs of filmed and generated clips (PH-10 .. PH-14).

    The data are pairs of `python -m preprocessing.negatives`, read as whole clips (data.windows=clip).

    Args:
        network: the transformer's options; those of the encoder are the UniVDM's.
        univdm: run folder, saved network or hub name of the paha.univdm whose encoder it starts from.
        negatives: "distilled": clips that the UniVDM made (the paper); "mismatched": filmed clips with wrong sound, of
            another clip or shifted (ours); "both", each counting half.
        lengths: frames of picture, and of sound, each drawn anew for every sample (PH-13).
        mask: probability in training of seeing its own region alone, else the whole frame (PH-12).
        drop_audio: probability in training of hearing nothing, filmed or generated (ours): a voice that is not the
            person's is learnt before anything that frames show, and then nothing makes the network look. 0 for
            negatives="mismatched", which only sound tells.
        low_noise: how much more often training draws little noise: the share u ** low_noise of all levels, u uniform. 1
            is every level as often (PH-14); above 1 is ours: at most levels what tells frames apart is below the noise.
        shift_least: seconds that shifted sound is away, at least.
        shift_most: at most.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or no such UniVDM.
    """

    region: ClassVar[Region]
    needs: ClassVar = ("latents.npz", "pair.npz", "speech.npz")
    network: PCEClassifier

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(PCEClassifier, given=("univdm", "region"))] = DEFAULTS,
        univdm: str | None = None,
        negatives: Negatives = "distilled",
        lengths: tuple[Count, ...] = (30, 60, 90, 120),
        mask: Fraction = 0.8,
        drop_audio: Fraction = 0.0,
        low_noise: Positive = 1.0,
        shift_least: NonNegative = 0.2,
        shift_most: NonNegative = 2.0,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        check_chances(mask=mask, drop_audio=drop_audio)
        if not lengths:
            raise ConfigError("stage.lengths is empty: give frames, such as stage.lengths=[30,60,90,120]")
        if drop_audio and negatives == "mismatched":
            raise ConfigError("stage.drop_audio goes with generated negatives: only sound tells mismatched ones")
        if shift_most < shift_least:
            raise ConfigError(f"stage.shift_most={shift_most:g} is less than stage.shift_least={shift_least:g}")
        self.negatives, self.lengths, self.mask, self.low_noise = negatives, lengths, mask, low_noise
        self.drop_audio = drop_audio
        self.shifts = (shift_least, shift_most)
        source = _univdm(univdm)
        options: Any = {} if source is None else source._hub_mixin_config
        self.network = build_network(PCEClassifier, network, univdm=options, region=self.region)
        if source is not None:
            self.network.take_encoder(source)
        self.measures = PairMeasures(self.network.noise.train_steps)
        layers, channels = self.network.audio_projection.shape[1:]
        self.speech_layers = None if layers == 1 else (layers, channels)

    def expects(self) -> list[Expected]:
        """Frame rate, whole clips, latents of the UniVDM's autoencoder."""
        network = self.network
        known = [made_by("latents.npz", network.autoencoder, "stage.univdm's autoencoder")]
        return [frame_rate(network.fps, "fps of stage.univdm"), whole_clips(), *(known if network.autoencoder else [])]

    def figures(self) -> tuple[str, ...]:
        """Loss and accuracy; in validation also by noise level, and the area under the ROC curve."""
        return (*both("loss"), "train/accuracy", *(f"val/{name}" for name in PairMeasures.names))

    def step(self, batch: Any, part: str) -> Tensor:
        """The loss of one batch (Eq. 7); validation sees its own region alone, and the same noise every time."""
        random, network = self.generator(batch), self.network
        cached, pair, there = batch.arrays["latents"], batch.arrays["pair"], batch.lengths
        if there is None:  # a plan's
            there = torch.full(cached["mean"].shape[:1], cached["mean"].shape[1], device=cached["mean"].device)
        parts = draw_parts(random, there, self.lengths)
        rows = torch.arange(len(there), device=parts.video_at.device)[:, None]
        mean, log_variance = (cached[name][rows, parts.video_at] for name in ("mean", "log_variance"))
        x0 = (sampled(mean, log_variance, random.normal(*mean.shape[1:])) * network.latent_scale).transpose(1, 2)
        levels = self._levels(random)
        noisy = network.noise.add(x0, random.normal(*x0.shape[1:]), levels)
        seen = region_mask(pair["box"], x0.shape[-2], x0.shape[-1], self.region)
        chance = random.uniform()
        if self.training:
            seen = torch.where((chance < self.mask)[:, None, None, None, None], seen, torch.ones_like(seen))
        speech = speech_of(batch, network)
        heard = [windows_at(speech, parts.audio_at, network.audio_context, there)]
        counted = [self._heard(random, parts.audio)]
        right = (pair["generated"][:, 0] == 0).float()
        targets, weights = [right], [torch.ones_like(right)]
        if self.negatives != "distilled":
            wrong = draw_wrong(random, there, parts, batch.fps, self.shifts)
            other = speech[wrong.rows], wrong.audio_at, network.audio_context, there[wrong.rows]
            heard.append(windows_at(*other))
            counted.append(wrong.audio)
            targets.append(torch.zeros_like(right))
            weights = [1 + right, right * wrong.there] if self.negatives == "both" else [right, right * wrong.there]
        image = pair["tokens"].float()[:, None] if network.image_channels else None
        reference = pair["reference"].float() * network.latent_scale * seen[:, :, 0]
        inputs = UniVDMInputs(reference, image, torch.cat(heard))
        scores = network(noisy * seen, levels, inputs, parts.video, torch.cat(counted))
        target, weight = torch.cat(targets), torch.cat(weights)
        each = F.binary_cross_entropy_with_logits(scores, target, reduction="none")
        loss = (each * weight).sum() / weight.sum().clamp(min=1)
        self._log(part, loss, scores.detach(), target, weight, levels.repeat(len(heard)))
        return loss

    def _heard(self, random: Any, frames: Tensor) -> Tensor:
        """(B,) frames of sound that count: none of those that training lets hear nothing."""
        if self.training and self.drop_audio:
            return torch.where(random.uniform() < self.drop_audio, 0, frames)
        return frames

    def _levels(self, random: Any) -> Tensor:
        """(B,) noise levels; validation draws every level as often, whatever training does."""
        noise = self.network.noise
        if self.training and self.low_noise != 1:
            return (random.uniform() ** self.low_noise * noise.train_steps).long()
        return noise.draw(random)

    def on_validation_epoch_end(self) -> None:
        """Log what is computed over all of the validation, of all ranks."""
        for name, figure in self.measures.results():
            self.log(f"val/{name}", figure, sync_dist=False)

    def _log(self, part: str, loss: Tensor, scores: Tensor, target: Tensor, weight: Tensor, levels: Tensor) -> None:
        counts = weight > 0
        size = len(counts) if counts.is_meta else int(counts.sum())
        self.log(f"{part}/loss", loss, batch_size=max(size, 1))
        if counts.is_meta:
            return
        if part == "train":
            hits = ((scores > 0) == target.bool())[counts].float().sum()
            self.log("train/accuracy", hits / max(size, 1), batch_size=max(size, 1))
        else:
            self.measures.update(scores[counts], target[counts], levels[counts])


class PCEFaceStage(PCEStage):
    """Judges the face, and sees all but the face masked (PH-12)."""

    region = "face"


class PCENonfaceStage(PCEStage):
    """Judges all but the face, which it sees masked (PH-12)."""

    region = "nonface"


def _univdm(where: str | None) -> UniVDM | None:
    """The network whose encoder is taken; a plan may do without, and counts the published sizes."""
    if where is None:
        if torch.get_default_device().type == "meta":
            return None
        raise ConfigError(
            "stage.univdm is needed: the run folder, saved network or hub name of the paha.univdm that made the pairs"
        )
    return load_network(UniVDM, find_stage(where, "univdm", "paha.univdm"))
