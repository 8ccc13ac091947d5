"""The second step of MMGT's video diffusion: what speech moves, and how frames follow one another (MMGT-21)."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

import torch
from safetensors import safe_open

from models.mmgt.video import MMGTVideo
from models.saved import CONFIG, WEIGHTS
from pretrained.exports import Export, find_stage
from pretrained.hashes import short
from pretrained.unets import load_motion
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Fraction, NonNegative
from trainers.mmgt.video_stage import VideoStage
from trainers.stage.agreement import shown
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES
from trainers.video.batch import Reference
from trainers.video.stage import Weighting

BASE: Final = "mmgt.video_pose"
OWN: Final = ("audio_", "motion_", "guidance_", "use_audio", "masks", "sampling_steps", "window", "fps")
"""Beginnings of the network's options that may differ from the first step's: what it does not train, or only uses."""


class VideoAudioStage(VideoStage):
    """Trains audio projection, audio attention through masks, and motion modules; all else is frozen (MMGT-21).

    Args:
        network: the network's own options; sizes of what is not trained here are those of `base`.
        base: run folder, saved network or hub name of an mmgt.video_pose.
        autoencoder: as the first step's.
        motion_weights: folder or hub name of AnimateDiff's motion modules, which they start from; anew where none.
        reference: the picture is the first of a window's frames (MMGT-14), or any of the window (ours).
        drop_reference: probability of training without the reference, for classifier-free guidance.
        drop_pose: likewise without poses.
        drop_audio: likewise without speech.
        hold_masks: masks are held at the reference's frame where poses are left out, as they are when speech alone
            drives (ours): moving ones show how far the lips are open.
        weighting: how much each noise level counts.
        noise_offset: share of the noise that is the same over a whole channel, so that brightness is learned.
        region_weight: how much more latents of face, lips and hands count than the rest (ours); 0 counts all the same.
        optimizer: optimiser and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, or networks that cannot be used.
    """

    trains: ClassVar = "audio_motion"

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(MMGTVideo, given=("autoencoder", "latent_scale"))] = DEFAULTS,
        base: str | None = None,
        autoencoder: str | None = None,
        motion_weights: str | None = None,
        reference: Reference = "first",
        drop_reference: Fraction = 0.05,
        drop_pose: Fraction = 0.05,
        drop_audio: Fraction = 0.05,
        hold_masks: bool = False,
        weighting: Weighting = "uniform",
        noise_offset: NonNegative = 0.0,
        region_weight: NonNegative = 0.0,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adam",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(
            network,
            autoencoder=autoencoder,
            reference=reference,
            frames="consecutive",
            dropped={"reference": drop_reference, "pose": drop_pose, "audio": drop_audio},
            hold_masks=hold_masks,
            weighting=weighting,
            noise_offset=noise_offset,
            region_weight=region_weight,
            optimizer=optimizer,
            schedule=schedule,
        )
        self.base_sha256 = ""
        if base is not None:
            self._build_on(base, autoencoder)
        elif torch.get_default_device().type != "meta":  # a plan does without
            raise ConfigError(f"stage.base is needed: the run folder of an {BASE}, or its saved network")
        if motion_weights is not None:
            load_motion(self.network, "stage.motion_weights", motion_weights)

    def frozen(self) -> dict[str, str]:
        """The autoencoder and the first step's network, by the options that say where they are."""
        return {**super().frozen(), **({"base": self.base_sha256} if self.base_sha256 else {})}

    def _build_on(self, base: str, autoencoder: str | None) -> None:
        """Take what is frozen from the first step's network.

        Raises:
            ConfigError: no such network, one of other sizes, or one that knows other latents.
        """
        export = find_stage(base, "base", BASE)
        config = json.loads((export.folder / CONFIG).read_text())
        _check_sizes(config, self.network, base)
        own, there = self.network.autoencoder, config["autoencoder"]
        if own and own != there:
            raise ConfigError(
                f"stage.base={base} knows the latents of another autoencoder (hash {short(there)}) than "
                f"stage.autoencoder={autoencoder} (hash {short(own)}): give the one that it was trained with"
            )
        _take_frozen(self.network, export)
        self.base_sha256 = export.sha256


def _check_sizes(config: Mapping[str, Any], network: MMGTVideo, base: str) -> None:
    """Raises ConfigError unless a saved network's options are this one's, as far as it is frozen."""
    own = json.loads(json.dumps(network._hub_mixin_config))
    for name, there in config.items():
        if name in own and not name.startswith((*OWN, "autoencoder", "latent_scale")) and own[name] != there:
            raise ConfigError(
                f"stage.network.{name} is {shown(own[name])}, but {shown(there)} in the network of stage.base={base}, "
                f"of which it is a part: set stage.network.{name}={shown(there)}"
            )


@torch.no_grad()
def _take_frozen(network: MMGTVideo, export: Export) -> None:
    """Copy what is frozen from a saved network, tensor by tensor: both need not fit in memory."""
    with safe_open(export.folder / WEIGHTS, "pt") as file:
        there = set(file.keys())
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                continue
            if name not in there or tuple(file.get_slice(name).get_shape()) != tuple(parameter.shape):
                raise ConfigError(
                    f"stage.base: {export.folder / WEIGHTS} has no {name} of shape {list(parameter.shape)}; another "
                    "version wrote it, or the file is damaged: train it again"
                )
            parameter.copy_(file.get_tensor(name))
