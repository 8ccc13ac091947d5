"""The autoencoder of latent video: diffusers' own classes, as a network that is trained and saved here."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.saved import CONFIG, WEIGHTS, SavedNetwork
from models.video.latents import padded
from models.video.temporal_decoding import is_temporal
from settings.ranges import Count, Positive

_TEMPORAL: Final = "AutoencoderKLTemporalDecoder"
_TEMPORAL_GROUPS: Final = 32
_INDEX = "diffusion_pytorch_model.safetensors.index.json"
"""Where diffusers looks for the names of weight files."""


class Rebuilt(NamedTuple):
    """Frames that passed the autoencoder.

    Attributes:
        frames: (N, 3, H, W), about [0, 1].
        mean, log_variance: of their latents, (N, C, h, w), not scaled.
    """

    frames: Tensor
    mean: Tensor
    log_variance: Tensor


class VideoAutoencoder(
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["co-speech", "video", "video.autoencoder"],
    license="other",
):
    """A KL autoencoder of frames (Rombach et al. 2022), of diffusers' own class, in `vae`.

    Its decoder sees frames alone (`AutoencoderKL`), or mixes those of a video (`AutoencoderKLTemporalDecoder`, Stable
    Video Diffusion's). What is saved is what diffusers saves, `config.json` and its own names of tensors, with an index
    beside it, so that `from_pretrained(export)` of the class reads it as well. `config.scaling_factor` is 1 / deviation
    of the latents that it was trained on (`measured`), unless one is given.

    Args:
        block_out_channels: channels of each resolution, the finest first; each but the last halves the picture, so
            their number decides f: three make a latent of 4 x 4 pixels, four one of 8 x 8.
        layers_per_block: residual blocks of each resolution in the encoder; the decoder has one more.
        latent_channels: channels of the latents.
        norm_num_groups: groups of group norm; they divide all channels.
        mid_block_add_attention: self-attention at the coarsest resolution.
        temporal_decoder: the decoder mixes frames; wants norm_num_groups=32, mid_block_add_attention and two layers.
        sample_size: pixels of a side that it was trained with; only kept in its config.
        scaling_factor: what latents are multiplied by; null measures it in training.

    Raises:
        ValueError: sizes that do not go together.
    """

    moments: Tensor
    updates: Tensor

    def __init__(
        self,
        *,
        block_out_channels: Sequence[Count] = (128, 256, 512, 512),
        layers_per_block: Count = 2,
        latent_channels: Count = 4,
        norm_num_groups: Count = 32,
        mid_block_add_attention: bool = True,
        temporal_decoder: bool = False,
        sample_size: Count = 256,
        scaling_factor: Positive | None = None,
    ):
        super().__init__()
        if not block_out_channels or any(channels % norm_num_groups for channels in block_out_channels):
            raise ValueError(
                f"norm_num_groups={norm_num_groups} has to divide each of block_out_channels={list(block_out_channels)}"
            )
        fixed = norm_num_groups == _TEMPORAL_GROUPS and mid_block_add_attention and layers_per_block > 1
        if temporal_decoder and not fixed:
            raise ValueError(
                f"temporal_decoder=true goes with norm_num_groups={_TEMPORAL_GROUPS}, mid_block_add_attention=true and "
                "layers_per_block=2 or more: diffusers' class has no options for the first two, and passes over its "
                "attention with one layer"
            )
        import diffusers

        count = len(block_out_channels)
        sizes: dict[str, Any] = {
            "block_out_channels": tuple(block_out_channels), "layers_per_block": layers_per_block,
            "latent_channels": latent_channels, "sample_size": sample_size,
            "down_block_types": ("DownEncoderBlock2D",) * count,
        }  # fmt: skip
        if temporal_decoder:
            vae: Any = diffusers.AutoencoderKLTemporalDecoder(**sizes)
        else:
            vae = diffusers.AutoencoderKL(
                **sizes,
                up_block_types=("UpDecoderBlock2D",) * count,
                norm_num_groups=norm_num_groups,
                mid_block_add_attention=mid_block_add_attention,
            )
        self._hold(vae, scaling_factor)

    @classmethod
    def of(cls, vae: Any, scaling_factor: float | None = None) -> Self:
        """One that holds such a network with its config, to be trained on; scaling as in the constructor."""
        network = cls.__new__(cls)
        nn.Module.__init__(network)
        network._hold(vae.requires_grad_(True).train(), scaling_factor)
        return network

    def _hold(self, vae: Any, scaling_factor: float | None) -> None:
        self.vae, self.fixed, self.temporal = vae, scaling_factor, is_temporal(vae)
        self.downscaling = 2 ** (len(vae.config.block_out_channels) - 1)
        self.latent_channels = int(vae.config.latent_channels)
        self.register_buffer("moments", torch.zeros(2))  # running means of latents and of their squares
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, frames: Tensor, noise: Tensor | None = None, together: int | None = None) -> Rebuilt:
        """Frames (N, 3, H, W) in [0, 1] to latents and back.

        Args:
            frames: sides that f does not divide are continued inside (`models.video.latents.padded`).
            noise: (N, C, h, w) normal numbers for the latents' deviation; their mean is decoded where None.
            together: consecutive frames of each video, which a temporal decoder mixes; N, one video's, where None.
        """
        posterior = self.vae.encode(padded(frames, self.downscaling) * 2 - 1).latent_dist
        latents = posterior.mean if noise is None else posterior.mean + posterior.std * noise
        mixed: dict[str, Any] = {"num_frames": together or len(frames)} if self.temporal else {}
        decoded = self.vae.decode(latents, **mixed).sample[..., : frames.shape[-2], : frames.shape[-1]]
        return Rebuilt(decoded / 2 + 0.5, posterior.mean, posterior.logvar)

    def measure(self, mean: Tensor, square: Tensor, decay: float = 0.99) -> None:
        """Take the mean of a batch's latents and of their squares into the running ones (scalars).

        Over n batches the weight of the newest is 1 / n, and no less than 1 - decay.
        """
        self.updates += 1
        share = torch.clamp(1 / self.updates, min=1 - decay)
        self.moments.lerp_(torch.stack([mean, square]).to(self.moments.dtype), share.to(self.moments.dtype))

    @property
    def measured(self) -> float:
        """1 / deviation of the latents of training; the config's own where nothing was measured."""
        if not int(self.updates):
            return float(self.vae.config.scaling_factor)
        mean, square = self.moments.double().tolist()
        return float(max(square - mean**2, 1e-12) ** -0.5)

    @property
    def scaling_factor(self) -> float:
        """What latents are multiplied by."""
        return self.measured if self.fixed is None else self.fixed

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass."""
        self.vae.enable_gradient_checkpointing()

    def _save_pretrained(self, save_directory: Path) -> None:
        """As diffusers saves it, under our name for the weights."""
        self.vae.register_to_config(scaling_factor=self.scaling_factor)
        state = {name: value.detach().contiguous() for name, value in self.vae.state_dict().items()}
        (save_directory / CONFIG).write_text(self.vae.to_json_string(), encoding="utf-8")
        save_file(state, save_directory / WEIGHTS, metadata={"format": "pt"})
        index = {
            "metadata": {"total_size": sum(value.nbytes for value in state.values())},
            "weight_map": dict.fromkeys(sorted(state), WEIGHTS),
        }
        (save_directory / _INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", **options: Any) -> Self:
        import diffusers
        from huggingface_hub import hf_hub_download

        folder = Path(model_id)
        if not folder.is_dir():
            known = {name: options.get(name) for name in ("revision", "cache_dir", "force_download", "token")}
            known["local_files_only"] = options.get("local_files_only", False)
            for name in (CONFIG, WEIGHTS):
                folder = Path(hf_hub_download(model_id, name, **cast(Any, known))).parent
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind = diffusers.AutoencoderKLTemporalDecoder if config["_class_name"] == _TEMPORAL else diffusers.AutoencoderKL
        vae: Any = kind.from_config(config)
        vae.load_state_dict(load_file(folder / WEIGHTS, device=map_location))
        return cls.of(vae, config["scaling_factor"])
