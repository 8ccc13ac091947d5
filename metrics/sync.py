"""Do lips and speech belong together? LSE-D and LSE-C by SyncNet."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, pairwise_distance
from torchmetrics import Metric

from metrics.faces import SYNCNET_SIDE, has_box, syncnet_crops
from metrics.frames import as_bytes
from metrics.mfcc import RATE, speech_mfcc
from metrics.sources import Sourced, source_of, yardstick
from models.human.syncnet import FRAMES, SPEECH_STEPS, SyncNet
from pretrained.weights import Published, find_file, load_state, read_state

SYNCNET: Final = Published(
    "SyncNet v2",
    ("syncnet_v2.model",),
    "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
    "joonson/syncnet_python, http://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
)
FPS: Final = 25.0
_SAMPLES: Final = 640  # of a frame
REACH: Final = 15


def load_syncnet(weights: str | Path) -> SyncNet:
    """SyncNet with the released weights.

    Args:
        weights: `syncnet_v2.model`, a folder that holds it, or a hub name.

    Raises:
        ConfigError: no such file, or another network's.
    """
    path, source = find_file(weights, SYNCNET)
    network = SyncNet()
    load_state(network, read_state(path, SYNCNET), path, SYNCNET)
    yardstick(network, source)
    return network


def offset_distances(lips: Tensor, speech: Tensor, reach: int = REACH) -> Tensor:
    """Mean distance of lips and speech, for every offset of one against the other.

    As `calc_pdist` of syncnet_python: Euclidean (with PyTorch's 1e-6 inside), and zeros where the speech has ended.

    Args:
        lips: (N, D) features, one a frame.
        speech: (N, D) features, one a frame.
        reach: largest offset in frames.

    Returns:
        (2 reach + 1,): entry k compares the lips of frame t with the speech of frame t + k - reach.
    """
    # (N, D, 2 reach + 1)
    around = pad(speech, (0, 0, reach, reach)).unfold(0, 2 * reach + 1, 1)
    return pairwise_distance(lips[:, None], around.transpose(1, 2)).mean(0)


def sync_scores(distances: Tensor) -> tuple[Tensor, Tensor]:
    """LSE-D, the least of the mean distances over offsets, and LSE-C, their median less the least."""
    least = distances.min()
    return least, distances.median() - least


class LipSync(Sourced, Metric):
    """Lip-sync error by SyncNet: LSE-D, lower is better, and LSE-C, higher is better; means over clips (IM-19).

    For every frame, the distance between SyncNet's features of five frames of lips and of 0.2 s of speech, at offsets
    from -15 to 15 frames (0.6 s). With the mean distance over frames as a function of the offset, LSE-D is its minimum
    and LSE-C its median less its minimum (Prajwal et al. 2020; Sync-D and Sync-C elsewhere).

    As syncnet_python computes them, on 25 frames a second and 16 kHz, but for its detour over JPEG and XVID. A clip
    without any face counts in `unseen`, one under 6 frames in `short`, and neither in the means.

    Args:
        network: `load_syncnet(...)`, or what it takes as `weights`; or any module with `forward_lip` and `forward_aud`.
        batch: frames at once.
    """

    distance: Tensor
    confidence: Tensor
    clips: Tensor
    short: Tensor
    unseen: Tensor
    figure = "LSE"
    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(self, network: nn.Module | str | Path, batch: int = 20) -> None:
        super().__init__()
        self.network: Any = network if isinstance(network, nn.Module) else load_syncnet(network)
        self.source = source_of(self.network)
        self.batch = batch
        for name in ("distance", "confidence"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("clips", "short", "unseen"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    @torch.no_grad()
    def update(
        self,
        frames: Tensor,
        audio: np.ndarray | Tensor,
        fps: float = FPS,
        face_boxes: np.ndarray | Tensor | None = None,
        sample_rate: int = RATE,
    ) -> None:
        """Add one clip.

        Args:
            frames: (T, 3, H, W) uint8 or float in [0, 1], RGB; faces of 224 x 224 as `syncnet_crops` gives them, or
                whole frames with `face_boxes`.
            audio: (N,) in [-1, 1], mono, 16 kHz.
            fps: frames a second; from another rate than 25 the nearest frames are taken.
            face_boxes: (T, 4) left, top, right, bottom as fractions of the frame, -1 where there is no face.
            sample_rate: of the audio.

        Raises:
            ValueError: another shape, range or sample rate.
        """
        samples = _as_samples(audio, sample_rate)
        pictures = as_bytes(frames)
        if face_boxes is None and tuple(pictures.shape[2:]) != (SYNCNET_SIDE, SYNCNET_SIDE):
            raise ValueError(
                f"SyncNet looks at faces of {SYNCNET_SIDE} x {SYNCNET_SIDE} pixels, not {tuple(pictures.shape[2:])}: "
                "give face_boxes with whole frames"
            )
        at = _frames_at(len(pictures), fps)
        count = min(len(at), len(samples) // _SAMPLES) - FRAMES  # syncnet_python leaves the last window out
        if count < 1:
            self.short += 1
            return
        faces = pictures[at].permute(0, 2, 3, 1).cpu().numpy()
        if face_boxes is not None:
            boxes = torch.as_tensor(face_boxes).cpu().numpy()
            if len(boxes) != len(pictures):
                raise ValueError(f"{len(pictures)} frames with {len(boxes)} face boxes")
            if not has_box(boxes[at]).any():
                self.unseen += 1
                return
            faces = syncnet_crops(faces, boxes[at])
        lips, speech = self._features(faces, speech_mfcc(samples), count)
        distance, confidence = sync_scores(offset_distances(lips, speech))
        self.distance += distance.to(self.distance)
        self.confidence += confidence.to(self.confidence)
        self.clips += 1

    def _features(self, faces: np.ndarray, mfcc: np.ndarray, count: int) -> tuple[Tensor, Tensor]:
        bgr = torch.from_numpy(np.ascontiguousarray(faces[..., ::-1]))
        # Five frames (n, 5, 3, 224, 224) and twenty steps of speech (n, 13, 20) from every frame on.
        windows = bgr.permute(0, 3, 1, 2).unfold(0, FRAMES, 1).movedim(-1, 1)[:count]
        speech = torch.from_numpy(mfcc).float().unfold(0, SPEECH_STEPS, 4)[:count]
        lips, sounds = [], []
        for some in torch.arange(count).split(self.batch):
            lips.append(self.network.forward_lip(windows[some].to(self.device).transpose(1, 2).float()))
            sounds.append(self.network.forward_aud(speech[some].to(self.device)[:, None]))
        return torch.cat(lips), torch.cat(sounds)

    def compute(self) -> dict[str, Tensor]:
        """{"LSE-D": scalar, "LSE-C": scalar}; NaN without clips."""
        if self.clips == 0:
            return {"LSE-D": torch.tensor(float("nan")), "LSE-C": torch.tensor(float("nan"))}
        return {"LSE-D": self.distance / self.clips, "LSE-C": self.confidence / self.clips}


def _as_samples(audio: np.ndarray | Tensor, sample_rate: int) -> np.ndarray:
    """16-bit samples of audio in [-1, 1]."""
    samples = torch.as_tensor(audio).cpu().numpy()
    if sample_rate != RATE:
        raise ValueError(f"SyncNet listens at {RATE} Hz; resample audio of {sample_rate} Hz first")
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(f"audio is (samples,) in [-1, 1], mono; this is {samples.dtype} of shape {samples.shape}")
    if not (np.abs(samples) <= 1.0 + 1e-3).all():
        raise ValueError("audio lies in [-1, 1]; divide 16-bit samples by 32768")
    return np.clip(np.round(samples.astype(np.float64) * 32768), -32768, 32767)


def _frames_at(count: int, fps: float) -> np.ndarray:
    """Numbers of the frames nearest to every 40 ms."""
    if not fps > 0:
        raise ValueError(f"fps={fps}: it is above 0")
    times = np.arange(int(np.floor(count / fps * FPS + 1e-6)))
    return np.minimum(np.round(times * fps / FPS).astype(int), count - 1)
