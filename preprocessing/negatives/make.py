"""One pair: the generated clip, the filmed one beside it, and both through decoder, video encoder and encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.clip import BadSample, ClipInfo
from datamodules.collate import cut_array
from datamodules.keys import KEYS, SAMPLE_RATE
from datamodules.media.files import encode_video, read_frames
from datamodules.shards.samples import ClipReader, LoadedClip
from models.paha.generate import UniVDMSource, generate_latents
from models.paha.regions import face_box, grown
from models.video.latents import decode, downscaling, moments_of
from models.video.speech import audio_windows, heard_features
from preprocessing.negatives.networks import Networks
from preprocessing.negatives.options import Options
from preprocessing.negatives.plan import Pair


@dataclass(frozen=True)
class Sample:
    """A clip of a pair: what is known of it, and its keys."""

    info: ClipInfo
    values: dict[str, Any]


@dataclass
class _Open:
    """A pair that is being made: its two clips, and what the network is told."""

    pair: Pair
    clip: LoadedClip
    heard: LoadedClip
    box: np.ndarray
    reference: Tensor
    speech: Tensor
    tokens: Tensor | None


class PairMaker:
    """Makes pairs.

    Args:
        options: of the run.
        networks: both, on their device.
        read: gives clips by number.
        device: where the networks are.
    """

    def __init__(self, options: Options, networks: Networks, read: ClipReader, device: torch.device) -> None:
        self.options, self.networks, self.read, self.device = options, networks, read, device

    def make(self, pairs: Iterable[Pair]) -> Iterator[tuple[Pair, tuple[Sample, Sample] | str]]:
        """Each pair in turn, filmed and generated clip, or why it cannot be made."""
        waiting: dict[tuple[Any, ...], list[_Open]] = {}
        for pair in pairs:
            try:
                opened = self._open(pair)
            except BadSample as error:
                yield pair, error.reason
                continue
            group = waiting.setdefault((pair.frames, *opened.reference.shape), [])
            group.append(opened)
            if len(group) == self.options.batch:
                yield from self._generated(waiting.pop((pair.frames, *opened.reference.shape)))
        for group in waiting.values():
            yield from self._generated(group)

    def _open(self, pair: Pair) -> _Open:
        clip, heard, network = self.read(pair.clip), self.read(pair.heard), self.networks.univdm
        mean = clip.values["latents.npz"]["mean"]
        if mean.shape[1] != network.latent_channels:
            raise BadSample(f"latents.npz: {mean.shape[1]} channels, the network has {network.latent_channels}")
        if bytes(clip.values["latents.npz"]["network"]).hex() != self.networks.autoencoder_sha256:
            raise BadSample("latents.npz: made by another autoencoder than the network's")
        tokens = None
        if network.image_channels:
            tokens = torch.from_numpy(np.array(clip.values["image.npz"]["tokens"][pair.reference]))
            if len(tokens) != network.image_channels:
                raise BadSample(f"image.npz: {len(tokens)} numbers, the network reads {network.image_channels}")
        return _Open(
            pair, clip, heard, self._box(pair, clip), torch.from_numpy(np.array(mean[pair.reference])),
            self._speech(heard.values["speech.npz"], heard.info.frames), tokens,
        )  # fmt: skip

    def _speech(self, speech: dict[str, np.ndarray], frames: int) -> Tensor:
        """(F, L, A) as the network hears it. Raises BadSample for features of another kind."""
        _, layers, channels = self.networks.univdm.audio_projection.shape
        features = heard_features(speech, frames, layers, channels, self.networks.speech_layers)
        if features is None:
            raise BadSample(f"speech.npz: the network hears {layers} layers of {channels}, which are not in it")
        return features

    def _box(self, pair: Pair, clip: LoadedClip) -> np.ndarray:
        """(4,) of the face over the frames of a pair and its picture, as fractions of what latents cover."""
        frames = [pair.reference, *range(pair.start, pair.start + pair.frames)]
        latents, covered = clip.values["latents.npz"], self._covered(clip)
        height, width = latents["frame"][:2].tolist() if "frame" in latents else (clip.info.height, clip.info.width)
        if "face.npz" not in clip.values:
            poses = torch.from_numpy(np.array(clip.values["pose.npz"]["pose"][frames]))
            try:
                return face_box(poses, height, width, covered).numpy()
            except ValueError:
                raise BadSample("no face is seen in its frames") from None
        boxes = clip.values["face.npz"]["boxes"][frames]
        boxes = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
        if not len(boxes):
            raise BadSample("no face is seen in its frames")
        size = np.array((width / covered[1], height / covered[0]))
        box = np.concatenate([boxes[:, :2].min(0) * size, boxes[:, 2:].max(0) * size])
        return grown(torch.from_numpy(box.astype(np.float32))).numpy()

    def _covered(self, clip: LoadedClip) -> tuple[int, int]:
        """Height and width in pixels of what latents stand for."""
        rows, columns = clip.values["latents.npz"]["mean"].shape[-2:]
        factor = downscaling(self.networks.autoencoder)
        return rows * factor, columns * factor

    def _generated(self, group: list[_Open]) -> Iterator[tuple[Pair, tuple[Sample, Sample] | str]]:
        network, frames = self.networks.univdm, group[0].pair.frames
        starts = [each.pair.heard_start for each in group]

        def heard(begin: int, end: int) -> Tensor:
            windows = [
                audio_windows(each.speech[None], start + begin, end - begin, network.audio_context)
                for each, start in zip(group, starts, strict=True)
            ]
            return torch.cat(windows).float().to(self.device)

        tokens = [each.tokens for each in group if each.tokens is not None]
        source = UniVDMSource(
            frames=frames,
            reference=torch.stack([each.reference for each in group]).float().to(self.device) * network.latent_scale,
            speech=heard,
            image=torch.stack(tokens)[:, None].float().to(self.device) if tokens else None,
        )
        seeds = [each.pair.seed for each in group]
        pieces = generate_latents(
            network, source, steps=self.options.steps, guidance=self.options.guidance(), seed=seeds
        )
        for each, made in zip(group, torch.cat([piece.cpu() for piece in pieces], 2), strict=True):
            if not made.isfinite().all():
                yield each.pair, "the network made NaN of it"
                continue
            try:
                yield each.pair, self._both(each, made.transpose(0, 1))
            except BadSample as error:
                yield each.pair, error.reason

    def _both(self, opened: _Open, made: Tensor) -> tuple[Sample, Sample]:
        pair = opened.pair
        filmed = opened.clip.values["latents.npz"]["mean"][pair.start : pair.start + pair.frames]
        real = self._sample(opened, "real", torch.from_numpy(np.array(filmed)), opened.clip, pair.start)
        return real, self._sample(opened, "made", made, opened.heard, pair.heard_start)

    def _sample(self, opened: _Open, side: str, latents: Tensor, heard: LoadedClip, start: int) -> Sample:
        pair, plain = opened.pair, latents.half()
        height, width = self._covered(opened.clip)
        fps = opened.clip.info.fps
        nets = self.networks
        by = {"network": nets.sha256} if side == "made" else {"autoencoder": nets.autoencoder_sha256}
        note = {"content": "video", "generated": side == "made", **by}
        video, mean, log_variance = self._passed(plain, fps, note)
        speech, audio = _cut("speech.npz", heard, start, pair.frames), _cut("audio.flac", heard, start, pair.frames)
        own = np.frombuffer(bytes.fromhex(self.networks.autoencoder_sha256), np.uint8)
        values: dict[str, Any] = {
            "audio.flac": audio["audio"],
            "speech.npz": speech,
            "latents.npz": {
                "mean": mean, "log_variance": log_variance, "network": own,
                "frame": np.array([height, width, 0], np.int32),
            },
            "pair.npz": {
                "generated": np.array([side == "made"], np.uint8),
                "reference": opened.reference.half().numpy(),
                "box": opened.box,
                "network": own,
            },
        }  # fmt: skip
        if opened.tokens is not None:
            values["pair.npz"]["tokens"] = opened.tokens.half().numpy()
        if self.options.keep_plain:
            values["pair.npz"]["plain"] = plain.numpy()
        if self.options.keep_video:
            values["video.mp4"] = video
        info = _info(pair, side, opened.clip.info, heard.info, start, self.networks.sha256)
        return Sample(info.model_copy(update={"width": width, "height": height}), values)

    def _passed(self, latents: Tensor, fps: float, note: dict[str, Any]) -> tuple[bytes, np.ndarray, np.ndarray]:
        """Latents (T, C, h, w), not scaled, as a video, and mean and log-variance of what is seen in that."""
        network, batch = self.networks.autoencoder, self.options.decode_batch

        def frames() -> Iterator[np.ndarray]:
            for part in latents.split(batch):
                pixels = decode(network, part.float()) * 255
                yield from pixels.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

        video = encode_video(frames(), fps, metadata=note)
        seen = torch.from_numpy(np.stack(list(read_frames(video)))).permute(0, 3, 1, 2)
        moments = [
            [each.half().cpu() for each in moments_of(network, part.to(self.device))] for part in seen.split(batch)
        ]
        mean, log_variance = (torch.cat(parts).numpy() for parts in zip(*moments, strict=True))
        return video, mean, log_variance


def _cut(key: str, clip: LoadedClip, start: int, frames: int) -> dict[str, np.ndarray]:
    """The arrays of a key over some frames of a clip; those that do not grow with time as they are."""
    value = clip.values[key]
    values = value if isinstance(value, dict) else {KEYS[key].stem: value}
    fps, output = clip.info.fps, {}
    for name, array in values.items():
        known = KEYS[key].arrays[name]
        if known.time is not None:
            array = cut_array(array, known.time, known.rate or fps, fps, start, frames)
        output[name] = np.array(array)
    return output


def _info(pair: Pair, side: str, seen: ClipInfo, heard: ClipInfo, start: int, network: str) -> ClipInfo:
    """Where a clip of a pair comes from: what its people allow is what both allow whose picture and voice it has."""
    frames = pair.frames
    sources = [seen] if side == "real" else [seen, heard]
    named = [
        {"id": each.id, "source": each.source, "sha256": each.sha256, "speaker": each.speaker,
         "licence": each.licence, "consent": each.consent, "role": role}
        for each, role in zip(sources, ("picture", "speech"))
    ]  # fmt: skip
    first = (seen.start if side == "real" else heard.start) + start / seen.fps
    return ClipInfo(
        id=f"{pair.id}-{side}",
        source=seen.source,
        sha256=seen.sha256,
        start=first,
        end=first + frames / seen.fps,
        fps=seen.fps,
        frames=frames,
        sample_rate=SAMPLE_RATE,
        samples=round(frames / seen.fps * SAMPLE_RATE),
        speaker=seen.speaker,
        language=heard.language,
        licence=_joined([each.licence for each in sources]),
        consent=_least([each.consent for each in sources]),
        generated=network if side == "made" else None,
        split=seen.split,
        extra={"pair": pair.id, "sources": named},
    )


def _joined(licences: list[str | None]) -> str | None:
    """All of them; None where one is not known."""
    known = [licence for licence in dict.fromkeys(licences) if licence is not None]
    return "; ".join(known) if len(known) == len(dict.fromkeys(licences)) else None


def _least(consents: list[bool | str | None]) -> bool | str | None:
    """What the most careful of them allows: a refusal, what is not known, words, then a plain yes."""
    words = [each for each in consents if isinstance(each, str)]
    if any(each is False for each in consents):
        return False
    if any(each is None for each in consents):
        return None
    return "; ".join(dict.fromkeys(words)) if words else True
