"""UniVDM: a picture and speech to frames by one network (PAHA, 4.1.1), parts re-weighted in the loss (4.1.2)."""

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from models.paha.generate import sampler_of
from models.paha.reweighting import PARTS, RELIABLE, WHOLE, part_weights
from models.paha.univdm import UniVDM, UniVDMInputs
from models.video.speech import windows_at
from pretrained.unets import load_motion, load_unified
from settings import DEFAULTS, Choice, Section
from settings.ranges import Fraction, NonNegative
from trainers.stage.base import build_network
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES
from trainers.video.batch import Picked, Reference, image_tokens, speech_of
from trainers.video.stage import LatentStage, Told, Weighting


class UniVDMStage(LatentStage):
    """Trains UniVDM whole (PH-1 .. PH-5).

    Args:
        network: the network's own options.
        autoencoder: run folder of a video.autoencoder, or path or hub name of a published AutoencoderKL.
        spatial_weights: folder or hub name of Stable Diffusion 2.1, or of its UNet, from which it starts; none starts
            anew (PH-5).
        motion_weights: folder or hub name of AnimateDiff's motion modules, which they start from; anew where none.
        reference: the picture is the first of a window's frames, or any of the window (ours).
        first_frame: share of the samples that are given their first frame (PH-2: half, ours).
        drop_reference: probability of training without the reference, for classifier-free guidance (ours).
        drop_audio: likewise without speech.
        par: parts-aware re-weighting of the loss; false is the ablation (PH-6 .. PH-9, PH-21).
        par_reliable: score above which a key point counts, tau (PH-6).
        par_parts: what places at hands and face count, w1 (PH-8).
        par_whole: what those of the body count, w2.
        par_capped: scores of key points that cover one place add up to 1 at most (ours); false is Eq. 3 as printed.
        weighting: how much each noise level counts.
        noise_offset: share of the noise that is the same over a whole channel, so that brightness is learned.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or published weights that cannot be used.
    """

    network: UniVDM
    relative: ClassVar = False

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(UniVDM, given=("autoencoder", "latent_scale"))] = DEFAULTS,
        autoencoder: str | None = None,
        spatial_weights: str | None = None,
        motion_weights: str | None = None,
        reference: Reference = "any",
        first_frame: Fraction = 0.5,
        drop_reference: Fraction = 0.05,
        drop_audio: Fraction = 0.05,
        par: bool = True,
        par_reliable: Fraction = RELIABLE,
        par_parts: NonNegative = PARTS,
        par_whole: NonNegative = WHOLE,
        par_capped: bool = True,
        weighting: Weighting = "uniform",
        noise_offset: NonNegative = 0.0,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adamw",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(
            build_network(UniVDM, network),
            autoencoder=autoencoder,
            reference=reference,
            frames="consecutive",
            dropped={"reference": drop_reference, "audio": drop_audio},
            weighting=weighting,
            noise_offset=noise_offset,
            optimizer=optimizer,
            schedule=schedule,
        )
        self.first_frame = first_frame
        self.weights: dict[str, Any] = {
            "reliable": par_reliable,
            "parts": par_parts,
            "whole": par_whole,
            "capped": par_capped,
        }
        self.par = par
        if spatial_weights is not None:
            load_unified(self.network, "stage.spatial_weights", spatial_weights)
        if motion_weights is not None:
            load_motion(self.network, "stage.motion_weights", motion_weights)

    def tell(self, batch: Any, picked: Picked, latents: Tensor, random: Any, left_out: dict[str, Tensor]) -> Told:
        """Picture, speech, in some samples the first frame; weights of the parts of the clip's own poses."""
        network, rows = self.network, torch.arange(len(latents), device=latents.device)
        given = first = counted = None
        if self.training and random is not None:
            given, first = random.uniform() < self.first_frame, latents[:, 0]
            counted = torch.ones(latents.shape[0], latents.shape[1] - 1, dtype=torch.bool, device=latents.device)
            counted[:, 0] = ~given  # what is given is not learned
        inputs = UniVDMInputs(
            reference=latents[:, -1],
            image=image_tokens(batch, network)[rows, picked.reference][:, None] if network.image_channels else None,
            audio=windows_at(speech_of(batch, network), picked.frames, network.audio_context),
            first=first,
            given=given,
        )
        places, areas = None, {}
        if self.par or not self.training:
            pose, size = self.poses(batch, picked, latents)[:, :-1], latents.shape[-2:]
            if self.par:
                places = part_weights(pose, *size, **self.weights)
            if not self.training:
                parts = part_weights(pose, *size, reliable=self.weights["reliable"], parts=2, whole=1) > 1
                areas = {"parts": parts, "rest": ~parts}
        return Told(inputs, places, counted, areas)

    def figures(self) -> tuple[str, ...]:
        """In validation also the error inside the circles of hands and face (PH-7), and outside, with PAR or not."""
        return (*super().figures(), "val/rmse_parts", "val/rmse_rest")

    def predict(self, noisy: Tensor, levels: Tensor, inputs: Any, left_out: dict[str, Tensor]) -> Tensor:
        """The network."""
        return self.network(noisy, levels, inputs, left_out)

    def generate(self, inputs: Any, noise: Tensor) -> Tensor:
        """One segment."""
        return sampler_of(self.network, inputs).run(noise)
