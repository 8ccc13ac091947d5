"""Expression and blink ratio of every frame, as a person sets them or as somebody who drives shows them (VA-14)."""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from models.human.keypoints import FACE, LEFT_EYE_RIM, RIGHT_EYE_RIM
from models.versa.video.conditions import UNKNOWN
from models.versa.video.network import VersaVideo
from settings import ConfigError
from trainers.versa.timed_text import read_texts

DRIVING: Final = "driving"
"""Stands in the place of a blink ratio for that of the driving poses."""


def check_spans(option: str, given: Sequence[str] | None, seconds: float, of: str) -> None:
    """Refuse spans that reach beyond what they are for.

    Args:
        option: that they were given as.
        given: each as it was written.
        seconds: how long that is.
        of: what it is, such as "the sound".

    Raises:
        ConfigError: a span that starts or ends behind the end; names it.
    """
    spans = read_texts(given, option)
    for start, end, text in spans if isinstance(spans, list) else []:
        if end > seconds + 1e-6:
            reaches = "starts" if start >= seconds else "ends"
            raise ConfigError(
                f"{option}={text!r} from {start:g} to {end:g} s {reaches} behind the end of {of}, which is "
                f"{math.floor(100 * seconds) / 100:g} s long"
            )


def expressions(network: VersaVideo, given: Sequence[str] | None, frames: int, fps: float) -> np.ndarray | None:
    """Numbers of the labels of frames (T,), -1 where none holds; None where none is given at all.

    Raises:
        ConfigError: a label that the network does not know, or spans that cannot be read or overlap.
    """

    def number(label: str) -> int:
        try:
            return network.expression(label)
        except ValueError as error:
            raise ConfigError(f"expression={label}: {error}") from None

    values = _of_frames("expression", "happy", given, frames, fps, number)
    return None if values is None else values.astype(np.int64)


def blinks(
    given: Sequence[str] | None, frames: int, fps: float, driving: tuple[np.ndarray, tuple[int, int]] | None
) -> np.ndarray | None:
    """Height of the eyes over their width in frames (T,), -1 where nobody says; None where nobody does at all.

    Args:
        given: as it was written.
        frames: T.
        fps: of them.
        driving: poses (F, 134, 3) that drive, as they were found, and height and width of their frames.

    Raises:
        ConfigError: what is no such number, spans that cannot be read or overlap, or nobody who drives.
    """
    if given == [DRIVING]:
        if driving is None:
            raise ConfigError(f"blink={DRIVING} takes it from the eyes of driving poses: give driving=FILE")
        found = blinks_of(*driving)
        if (found < 0).all():
            raise ConfigError(f"blink={DRIVING}: the driving poses show no eyes; give a number, or leave blink out")
        return found[:frames]

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise ConfigError(
                f"blink={text}: give the height of the eyes over their width, from 0, shut, over some 0.3, open, to 1, "
                f"or {DRIVING}"
            )
        return value

    return _of_frames("blink", "0.05", given, frames, fps, number)


def blinks_of(poses: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Height of the eyes over their width (T,) in poses (T, 134, 3); -1 where eyes are not wholly seen.

    Args:
        poses: as fractions of frames and scores.
        size: height and width of these.
    """
    from preprocessing.face.geometry import eye_openness

    rims = np.r_[RIGHT_EYE_RIM, LEFT_EYE_RIM]
    seen = (poses[:, rims, 2] > 0).all(1)
    ratio = eye_openness(poses[:, FACE, :2] * np.array([size[1], size[0]], np.float32))
    return np.where(seen, ratio, UNKNOWN).astype(np.float32)


def _of_frames(
    option: str,
    example: str,
    given: Sequence[str] | None,
    frames: int,
    fps: float,
    read: Callable[[str], float],
) -> np.ndarray | None:
    found = read_texts(given, option, example)
    if found is None:
        return None
    if isinstance(found, str):
        return np.full(frames, read(found.strip()), np.float32)
    check_spans(option, given, frames / fps, "the video")
    values, told = np.full(frames, UNKNOWN, np.float32), np.zeros(frames, bool)
    for start, end, text in found:
        first, last = round(start * fps), round(end * fps)
        if last <= first:
            raise ConfigError(
                f"{option}={text!r} from {start:g} to {end:g} s: a span ends a frame or more behind its start"
            )
        if told[first:last].any():
            raise ConfigError(
                f"{option}={text!r} from {start:g} to {end:g} s overlaps another span: one holds at a time"
            )
        values[first:last], told[first:last] = read(text), True
    return values
