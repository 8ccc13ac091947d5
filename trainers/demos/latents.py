"""What the demos of latent video begin with: videos, square shards, an autoencoder of the frames, their latents."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cospeech import shipped
from trainers.demos.square import square_videos
from trainers.demos.steps import enough_to_judge, run_step

CONFIGS: Final = shipped.folder("configs")
SIDE: Final = 64  # pixels of the square frames that the tiny networks make
FACE: Final = 0.35  # height of the face in one's own videos, as in the portrait's demo


@dataclass(frozen=True)
class LatentFrames:
    """Shards of the videos, the same with latents, and the run of the autoencoder that made these."""

    shards: Path
    latents: Path
    autoencoder: Path


def train(title: str, config: str, run: Path, data: Path, steps: int, workers: int, *words: str) -> None:
    """Train a tiny network.

    Args:
        title: for people.
        config: folder of its config.
        run: the run folder.
        data: shards.
        steps: of training.
        workers: threads.
        words: further ones.
    """
    own = [f"data.shards={data}", f"run={run}", f"trainer.max_steps={steps}", *words]
    run_step(title, "trainers.fit", ["--config", str(CONFIGS / config / "tiny.yaml"), *own], threads=workers)


def latent_frames(
    output: Path, videos: str | None, speakers: int, clips_per_speaker: int, workers: int, steps: int
) -> LatentFrames:
    """Make them; what is finished already is not made again.

    Args:
        output: the demo's folder.
        videos: one's own; None makes synthetic speakers.
        speakers, clips_per_speaker: how many of them.
        workers: processes for rendering and preprocessing, threads for training.
        steps: of training the autoencoder.
    """
    found = LatentFrames(output / "shards", output / "latents", output / "autoencoder")
    judged = enough_to_judge(speakers, clips_per_speaker)
    source, options = square_videos(output, videos, speakers, clips_per_speaker, workers, FACE, judged)
    run_step(
        "Videos to square shards", "preprocessing.run",
        [f"input={source}", f"output={found.shards}", f"workers={workers}", *options],
    )  # fmt: skip
    train("Training the autoencoder of frames", "video/autoencoder", found.autoencoder, found.shards, steps, workers)
    run_step(
        "Latents of every frame", "preprocessing.features",
        [f"input={found.shards}", f"output={found.latents}", f"network={found.autoencoder}"]
        + [f"writer={{name: latents, size: [{SIDE}, {SIDE}]}}"],
        threads=workers,
    )  # fmt: skip
    return found
