"""Reading off frames how far a mouth is open, with a small network that is fitted to the clips' own training frames."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.media.fitting import FitMode
from datamodules.shards.index import Index
from metrics.lips import NEEDED
from models.human.keypoints import FACE, lip_opening
from settings import ConfigError, get_logger
from trainers.evaluation.clips import ids_of
from trainers.evaluation.faces import box_around, face_crop
from trainers.evaluation.per_clip import correlation
from trainers.evaluation.videos import read_shots

SIDE: Final = 48  # pixels of the crops it looks at
STEPS: Final = 400
CLIPS: Final = 48
FRAMES: Final = 100  # of a clip, evenly taken
_BATCH: Final = 64
_RATE: Final = 2e-3
_SHIFT: Final = 3  # pixels that a crop is moved by while fitting: a generated head is not quite where the true one is
_KEYS: Final = ("video.mp4", "pose.npz")
logger = get_logger(__name__)


class LipReader(nn.Module):
    """Crops of faces (N, 3, 48, 48) in [0, 1] to the opening of the lips (N,), as `lip_opening` has it (ours).

    A yardstick of its own for each data set and size: it reads what a viewer of these frames could, without a face
    detector, which finds no mouth in a small or drawn face. What it reads off true frames that it was not fitted to is
    the most that generated ones can reach. It is fitted to moved, blurred and darkened crops, so that it does not hang
    on what an autoencoder changes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        widths = (16, 32, 48, 64)
        layers: list[nn.Module] = []
        for given, wanted in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(given, wanted, 3, stride=2, padding=1), nn.GroupNorm(4, wanted), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(64), nn.SiLU(), nn.Linear(64, 1))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def forward(self, crops: Tensor) -> Tensor:
        return self.layers(crops * 2 - 1)[:, 0] * self.std + self.mean

    @classmethod
    def fit(
        cls,
        shards: str,
        size: tuple[int, int] | None,
        splits: Sequence[str] = ("train",),
        steps: int = STEPS,
        seed: int = 0,
        how: FitMode = "crop",
        clips: int = CLIPS,
    ) -> "LipReader":
        """A reader of the frames of shards; the same for the same seed.

        Args:
            shards: folder or URL.
            size: height and width at which the frames are read; None leaves them theirs.
            splits: whose clips it is fitted to.
            steps: of fitting; the default takes some twenty seconds on one core.
            seed: of its weights and of what is drawn.
            how: frames of another shape come to the size.
            clips: at most so many, evenly taken.

        Raises:
            ConfigError: no clips with video and pose in these splits, or none that shows lips.
        """
        index = Index.load(shards)
        ids = [one for split in splits for one in ids_of(index, split, _KEYS)]
        ids = [ids[i] for i in np.linspace(0, len(ids) - 1, min(clips, len(ids))).round().astype(int)]
        crops, openings = [], []
        for shot in read_shots(shards, ids, None, size, how):
            assert shot.pose is not None
            at = np.linspace(0, len(shot.frames) - 1, min(FRAMES, len(shot.frames))).round().astype(int)
            cut, opening = crops_of(shot.frames, shot.pose), openings_of(shot.pose)
            there = at[np.isfinite(opening[at])]
            if cut is not None and len(there):
                crops.append(cut[there])
                openings.append(opening[there])
        if not crops:
            raise ConfigError(f"{shards} has no frames with lips in {', '.join(splits)} to fit the lip reader to")
        return cls.fit_crops(torch.cat(crops), torch.from_numpy(np.concatenate(openings)), steps, seed)

    @classmethod
    def fit_crops(cls, crops: Tensor, openings: Tensor, steps: int = STEPS, seed: int = 0) -> "LipReader":
        """A reader fitted to crops (N, 3, 48, 48) in [0, 1] with openings (N,)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            reader = cls()
            reader(crops[:2])
        reader.mean.fill_(openings.mean())
        reader.std.fill_(openings.std(unbiased=False).clamp(min=1e-6))
        random = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(reader.parameters(), lr=_RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=max(steps, 2))
        wanted = (openings.float() - reader.mean) / reader.std
        for _ in range(steps):
            some = torch.randint(len(crops), (_BATCH,), generator=random)
            read = (reader(_varied(crops[some], random)) - reader.mean) / reader.std
            loss = F.smooth_l1_loss(read, wanted[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        logger.info("lip reader: fitted to %d frames", len(crops))
        return reader.eval().requires_grad_(False)

    @torch.no_grad()
    def read(self, frames: Tensor, pose: Tensor) -> np.ndarray:
        """The opening in each frame (T,); NaN where nobody knows where the face is.

        Args:
            frames: (T, 3, H, W) uint8 or float in [0, 1].
            pose: (N, 134, 3) of the true clip, or of its first frame alone: one square around the face is taken for
                all frames, so that nothing of the true lips' movement comes in.
        """
        crops = crops_of(frames, pose)
        if crops is None:
            return np.full(len(frames), np.nan)
        return torch.cat([self(part) for part in crops.split(256)]).double().numpy()

    def correlation(self, frames: Tensor, pose: Tensor) -> float:
        """Pearson's r between what is read off frames (T, 3, H, W) and the opening of the true lips, (T, 134, 3).

        0 where nothing changes in what is read; NaN where the true lips are still or not seen.
        """
        return correlation(self.read(frames, pose), openings_of(pose))


def openings_of(pose: Tensor) -> np.ndarray:
    """Opening of the lips (T,) in a pose (T, 134, 3); NaN where a point that it hangs on is not there."""
    points = pose.numpy().astype(np.float64)
    return np.where((points[:, NEEDED, 2] > 0).all(1), lip_opening(points), np.nan)


def crops_of(frames: Tensor, pose: Tensor) -> Tensor | None:
    """One square around the face wherever it goes, of every frame: (T, 3, 48, 48) in [0, 1]; None without a face."""
    box = box_around(pose[:, FACE], frames.shape[3] / frames.shape[2])
    return None if box is None else face_crop(frames, box, SIDE)


def _varied(crops: Tensor, random: torch.Generator) -> Tensor:
    """Crops (N, 3, S, S) moved, blurred and made lighter or darker, as a generator might give them."""
    x, y = torch.randint(2 * _SHIFT + 1, (2,), generator=random).tolist()
    moved = F.pad(crops, (_SHIFT,) * 4, mode="replicate")[..., y : y + SIDE, x : x + SIDE]
    blurred = F.avg_pool2d(F.pad(moved, (1,) * 4, mode="replicate"), 3, 1)
    share = torch.rand(len(crops), 1, 1, 1, generator=random)
    gain = 1 + 0.2 * (torch.rand(len(crops), 3, 1, 1, generator=random) - 0.5)
    noise = 0.02 * torch.randn(crops.shape, generator=random)
    return ((moved + share * (blurred - moved)) * gain + noise).clamp(0, 1)
