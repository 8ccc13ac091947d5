"""Audio and a first pose to poses with MMGT's first stage, SMGA (MMGT-1)."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from datamodules.shards.index import Index, IndexFileError
from models.mmgt.generate import generate_chunks
from models.mmgt.smga import HANDCRAFTED, SMGA
from models.mmgt.speech import join_speech
from pretrained.exports import Export, load_network
from settings import ConfigError
from settings.device import device_of
from settings.progress import Progress
from trainers.animation.files import PoseAnimation, write_animation
from trainers.animation.hearing import PretrainedHearing, handcrafted, layer_numbers, layers_wanted, mean_layer
from trainers.animation.request import check_fps, read_request
from trainers.mmgt.system import SMGAOptions

PAPER_FPS: Final = 25.0


class SMGAAnimator:
    """Generates poses with a trained SMGA and draws them.

    Args:
        export: the trained network.
        fps: frames a second that were asked for; None takes the network's.
        device: where it runs; `auto` is a GPU where there is one.

    Raises:
        ConfigError: another frame rate than the network was trained at.
    """

    def __init__(self, export: Export, fps: float | None = None, device: str = "auto"):
        self.export = export
        self.device = device_of(device)
        self.network = load_network(SMGA, export).to(self.device)
        self.layer_channels = self.network.get_buffer("audio_mean").numel() - HANDCRAFTED
        self.layers = layer_numbers(export.settings)
        self.fps = trained_fps(self.network, export)
        check_fps(fps, self.fps, export.name)

    def listen(self, audio: np.ndarray, layers: PretrainedHearing | None = None) -> np.ndarray:
        """Speech features (T, 35) of audio (N,) at 16 kHz, one row a video frame, with those of layers behind them."""
        features = handcrafted(audio, self.fps)
        return features if layers is None else with_layers(features, layers(audio))

    def hear(self, speech: dict[str, np.ndarray], clip_id: str) -> np.ndarray:
        """The same (T, C) from a clip's speech.npz. Raises ConfigError where it lacks the layers."""
        if not self.layer_channels:
            return speech["handcrafted"]
        return with_layers(speech["handcrafted"], mean_layer(speech, self.layers, clip_id))

    def poses(
        self,
        first_poses: Sequence[np.ndarray],
        speech: Sequence[np.ndarray],
        *,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        shown: bool = False,
    ) -> list[np.ndarray]:
        """Poses (T, 134, 3) for each first pose (134, 3) and speech (T, C), all in one batch.

        Shorter speech is filled up with its last frame, which its last window hears: lengths had better be close.
        With `shown` it says how far it is.
        """
        longest = max(map(len, speech))
        padded = np.stack([np.concatenate([one, np.repeat(one[-1:], longest - len(one), 0)]) for one in speech])
        chunks = generate_chunks(
            self.network,
            torch.from_numpy(np.stack(first_poses)).float().to(self.device),
            torch.from_numpy(padded).float().to(self.device),
            steps=steps,
            guidance=guidance,
            seed=seed,
        )
        if shown:
            with Progress("generating poses", longest, pause=10.0) as bar:
                output = torch.cat(list(bar.over(chunks, lambda chunk: chunk.shape[1])), 1)
        else:
            output = torch.cat(list(chunks), 1)
        arrays = output.float().cpu().numpy()
        return [poses[: len(one)] for poses, one in zip(arrays, speech, strict=True)]

    def animate(self, options: SMGAOptions) -> PoseAnimation:
        """Generate and write what was asked for."""
        if options.audio is None:
            raise ConfigError("give audio=FILE: the speech to move to")
        layers = layers_wanted(self.export, options.speech, self.layer_channels, self.device.type)
        request = read_request(
            image=options.image,
            audio=options.audio,
            pose=options.pose,
            out=options.out,
            size=options.size,
            seed=options.seed,
            steps=self.network.sampling_steps if options.steps is None else options.steps,
            guidance=self.network.guidance if options.guidance is None else options.guidance,
            more={} if options.speech is None else {"speech": options.speech},
        )
        poses = self.poses(
            [request.first_pose],
            [self.listen(request.audio, layers)],
            seed=request.seed,
            steps=request.steps,
            guidance=request.guidance,
            shown=True,
        )[0]
        return write_animation(request, poses, self.fps, self.export.about)


def with_layers(features: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Hand-crafted features (T, 35) and, behind them, a mean of layers (S, C) at the video's rate (MMGT-6)."""
    joined = join_speech(torch.from_numpy(features)[None], torch.from_numpy(layer)[None, None])
    return joined[0].numpy()


def trained_fps(network: SMGA, export: Export) -> float:
    """Frames a second that a network was trained at: its own word, else its shards', else the paper's 25 (MMGT-11)."""
    if hasattr(network, "fps"):
        return float(network.fps)
    shards = export.settings.get("data", {}).get("shards")
    if shards is not None:
        try:
            return Index.load(shards).fps
        except IndexFileError:  # the run was moved away from its data
            pass
    return PAPER_FPS
