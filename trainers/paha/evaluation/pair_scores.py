"""What a classifier says of pairs at drawn noise levels: of filmed and generated clips, of right and of wrong sound."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.paha.classifier import PCEClassifier
from models.paha.regions import region_mask
from models.paha.univdm import UniVDMInputs
from models.video.latents import sampled
from models.video.speech import windows_at
from trainers.paha.evaluation.pair_clips import PairClips, Side
from trainers.paha.pair_measures import QUARTERS

OTHER: Final = "other"
"""Another clip's sound."""


def shift_name(seconds: float) -> str:
    """What sound shifted by so much is called."""
    return f"shift_{seconds:g}"


@dataclass
class Scores:
    """Logits (P, B, D) of P pairs at B bands of noise and D draws in each; NaN where a clip has no room.

    Attributes:
        real: filmed clips with their own sound.
        made: generated ones with theirs.
        plain: filmed ones whose latents have not passed decoder and video encoder; NaN where none were kept.
        wrong: filmed ones with other sound, by what it is.
    """

    real: np.ndarray
    made: np.ndarray
    plain: np.ndarray
    wrong: dict[str, np.ndarray] = field(default_factory=dict)


class Asker:
    """Asks a classifier.

    Args:
        network: the classifier.
        device: where it is.
        length: frames of picture and sound.
        shifts: seconds that wrong sound is away.
        draws: noise levels of each band.
        batch: pairs at once.
    """

    def __init__(
        self,
        network: PCEClassifier,
        device: torch.device,
        length: int,
        shifts: Sequence[float],
        draws: int,
        batch: int,
    ):
        self.network, self.device, self.length = network, device, length
        self.shifts, self.draws, self.batch = list(shifts), draws, batch

    @torch.no_grad()
    def ask(self, pairs: Sequence[PairClips], seed: int) -> Iterator[tuple[int, Scores]]:
        """Scores of some pairs at a time, with how many they are.

        Every pair draws from a stream of its own: other pairs beside it change nothing but whose other sound it gets.

        Args:
            pairs: all of them.
            seed: of noise, levels, and where sounds begin.
        """
        streams = [torch.Generator().manual_seed(seed * 1_000_003 + number) for number in range(len(pairs))]
        for begin in range(0, len(pairs), self.batch):
            numbers = range(begin, min(begin + self.batch, len(pairs)))
            columns = [
                [self._ask(pairs, numbers, streams, band) for _ in range(self.draws)] for band in range(len(QUARTERS))
            ]
            yield len(numbers), _joined(columns)

    def _ask(
        self, pairs: Sequence[PairClips], numbers: Sequence[int], streams: Sequence[torch.Generator], band: int
    ) -> dict[str, np.ndarray]:
        """Logits (N,) of some pairs at one level each of a band, by what they are of."""
        network, some = self.network, [pairs[number] for number in numbers]
        low, high = (round(edge * network.noise.train_steps / len(QUARTERS)) for edge in (band, band + 1))
        sounds: dict[str, list[Tensor | None]] = {}
        videos: dict[str, list[Tensor | None]] = {"real": [], "made": [], "plain": []}
        noises, levels, made_sound = [], [], []
        for number, pair in zip(numbers, some, strict=True):
            random, other = streams[number], _other(pairs, number)
            levels.append(int(torch.randint(low, max(high, low + 1), (1,), generator=random)))
            shape = (self.length, *pair.real.mean.shape[1:])
            noises.append(torch.randn(shape, generator=random))
            posterior = torch.randn(shape, generator=random)
            margin = min(network.audio_context, (pair.frames - self.length) // 2)
            late = bool(torch.rand((), generator=random) < 0.5)
            # At one end, so that sound far away from it is there.
            start = pair.frames - self.length - margin if late else margin
            for name, seconds in ((shift_name(each), each) for each in self.shifts):
                moved = start + round(seconds * pair.real.info.fps) * (-1 if late else 1)
                inside = 0 <= moved <= pair.frames - self.length
                sounds.setdefault(name, []).append(self._sound(pair.real, moved) if inside else None)
            chance = torch.rand((), generator=random)
            begin = 0 if other is None else int(chance * (other.frames - self.length + 1))
            sounds.setdefault(OTHER, []).append(None if other is None else self._sound(other, begin))
            sounds.setdefault("own", []).append(self._sound(pair.real, start))
            made_sound.append(self._sound(pair.made, start))
            part = slice(start, start + self.length)
            for name, side in (("real", pair.real), ("made", pair.made)):
                videos[name].append(sampled(side.mean[part], side.log_variance[part], posterior))
            plain, spread = pair.real.plain, pair.real.log_variance[part]
            # As much of the posterior's noise as its other half has, so that nothing but compression differs.
            videos["plain"].append(None if plain is None else sampled(plain[part], spread, posterior))
        noise, level = torch.stack(noises), torch.tensor(levels)
        found = dict(zip(sounds, self._logits(some, videos["real"], list(sounds.values()), noise, level), strict=True))
        (found["made"],) = self._logits(some, videos["made"], [made_sound], noise, level)
        (found["plain"],) = self._logits(some, videos["plain"], [sounds["own"]], noise, level)
        return found

    def _sound(self, side: Side, begin: int) -> Tensor:
        """(S, 2 m + 1, L, A) from a frame on."""
        at = torch.arange(begin, begin + self.length)[None]
        return windows_at(side.speech[None], at, self.network.audio_context)[0]

    def _logits(
        self,
        pairs: Sequence[PairClips],
        videos: Sequence[Tensor | None],
        sounds: Sequence[Sequence[Tensor | None]],
        noise: Tensor,
        levels: Tensor,
    ) -> list[np.ndarray]:
        """(N,) for each of the sounds; NaN where there is no video or no sound."""
        network, device = self.network, self.device
        rows = [row for row, video in enumerate(videos) if video is not None]
        output = [np.full(len(pairs), np.nan) for _ in sounds]
        if not rows:
            return output
        x0 = torch.stack([video for video in videos if video is not None]).transpose(1, 2) * network.latent_scale
        level = levels[rows].to(device)
        noisy = network.noise.add(x0.to(device), noise[rows].transpose(1, 2).to(device), level)
        box = torch.stack([pairs[row].box for row in rows]).to(device)
        seen = region_mask(box, noisy.shape[-2], noisy.shape[-1], network.region)
        reference = torch.stack([pairs[row].reference for row in rows]).to(device) * network.latent_scale
        images = [pairs[row].image for row in rows]
        image = None
        if network.image_channels:
            image = torch.stack([each for each in images if each is not None])[:, None].to(device)
        silent = torch.zeros_like(next(sound for each in sounds for sound in each if sound is not None))
        heard = torch.stack([silent if (sound := each[row]) is None else sound for each in sounds for row in rows])
        inputs = UniVDMInputs(reference * seen[:, :, 0], image, heard.to(device))
        logits = network(noisy * seen, level, inputs).double().cpu().numpy().reshape(len(sounds), len(rows))
        for given, each, values in zip(output, sounds, logits, strict=True):
            given[rows] = np.where([each[row] is not None for row in rows], values, np.nan)
        return output


def _other(pairs: Sequence[PairClips], number: int) -> Side | None:
    """The filmed side of the next pair of another clip; None where there is none."""
    following = (pairs[(number + step) % len(pairs)] for step in range(1, len(pairs)))
    return next((pair.real for pair in following if pair.clip != pairs[number].clip), None)


def _joined(columns: Sequence[Sequence[dict[str, np.ndarray]]]) -> Scores:
    """Of logits (N,) by band and draw."""
    found = {
        name: np.stack([np.stack([draw[name] for draw in band], -1) for band in columns], 1) for name in columns[0][0]
    }
    own, made, plain = (found.pop(name) for name in ("own", "made", "plain"))
    return Scores(own, made, plain, found)


def together(parts: Sequence[Scores]) -> Scores:
    """Scores of more pairs."""
    return Scores(
        np.concatenate([part.real for part in parts]),
        np.concatenate([part.made for part in parts]),
        np.concatenate([part.plain for part in parts]),
        {name: np.concatenate([part.wrong[name] for part in parts]) for name in parts[0].wrong},
    )
