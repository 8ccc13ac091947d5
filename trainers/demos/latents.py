"""What the demos of latent video begin with: videos, square shards, an autoencoder of the frames, their latents."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainers.demos.square import SPEAKERS, Drawn, square_shards
from trainers.demos.steps import enough_to_judge, run_step, train

SIDE: Final = 64  # pixels of the square frames that the tiny networks make


@dataclass(frozen=True)
class LatentFrames:
    """Shards of the videos, the same with latents, and the run of the autoencoder that made these."""

    shards: Path
    latents: Path
    autoencoder: Path


def latent_frames(
    output: Path,
    videos: str | None,
    speakers: int,
    clips_per_speaker: int,
    workers: int,
    steps: int,
    drawn: Drawn = SPEAKERS,
    side: int = SIDE,
    recipe: Sequence[str] = (),
) -> LatentFrames:
    """Make them; what is finished already is not made again.

    Args:
        output: the demo's folder.
        videos: one's own; None makes synthetic speakers.
        speakers, clips_per_speaker: how many of them.
        workers: processes for rendering and preprocessing, threads for training.
        steps: of training the autoencoder.
        drawn: who is drawn.
        side: of the frames that the networks make.
        recipe: further options of the autoencoder's training.
    """
    judged = enough_to_judge(speakers, clips_per_speaker)
    shards = square_shards(output, videos, speakers, clips_per_speaker, workers, judged, drawn)
    found = LatentFrames(shards, output / "latents", output / "autoencoder")
    train(
        "Training the autoencoder of frames", "video/autoencoder", found.autoencoder, found.shards, steps, workers,
        f"data.video_size=[{side},{side}]", *recipe,
    )  # fmt: skip
    run_step(
        "Latents of every frame", "preprocessing.features",
        [f"input={found.shards}", f"output={found.latents}", f"network={found.autoencoder}"]
        + [f"writer={{name: latents, size: [{side}, {side}]}}"],
        threads=workers,
    )  # fmt: skip
    return found
