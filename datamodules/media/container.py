"""Opening media files of other people's making: which are refused, which track is taken, packets as far as they go."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import av
from av.stream import Disposition

BAD: Final = (av.FFmpegError, OSError, EOFError, ValueError)
"""What PyAV raises for a broken file; among the ValueErrors is UnicodeDecodeError, for tags that are not UTF-8."""

# Lists that name other files or hosts, devices, and what paints text or asks by a pattern of names: no video of itself.
_REFUSED: Final = (
    "concat", "hls", "applehttp", "dash", "imf", "sdp", "rtsp", "rtp", "sap", "smoothstreaming", "image2", "lavfi",
    "tty", "alias_pix", "ffmetadata", "tedcaptions", "x11grab", "fbdev", "kmsgrab", "alsa", "video4linux2,v4l2",
)  # fmt: skip
_OPTIONS: Final = {
    "protocol_whitelist": "file,crypto,data",
    "format_whitelist": ",".join(sorted(av.formats_available - set(_REFUSED))),
}
_SCRIPTS: Final = {
    b"ffconcat version": "a list of other files (ffconcat)",
    b"#EXTM3U": "a playlist (m3u8)",
    b"[playlist]": "a playlist (pls)",
    b"<MPD": "a streaming manifest (DASH)",
    b"<SmoothStreamingMedia": "a streaming manifest",
    b"v=0\r": "a description of a network stream (SDP)",
    b"v=0\n": "a description of a network stream (SDP)",
    b"<!DOCTYPE html": "a web page",
    b"<html": "a web page",
}

# What is made for some listeners only, or stands beside the picture.
_ASIDE: Final = (
    Disposition.comment
    | Disposition.dub
    | Disposition.karaoke
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.clean_effects
    | Disposition.descriptions
    | Disposition.dependent
    | Disposition.non_diegetic
)
_PICTURES: Final = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image

Track = TypeVar("Track", av.VideoStream, av.AudioStream)


class MediaError(ValueError):
    """A picture, sound or video file that cannot be used; the message names the file and what is wrong with it."""


def open_container(source: str | Path | bytes, what: str = "video") -> av.container.InputContainer:
    """Open a file, or its bytes, for reading.

    Files that lead to other files or hosts (playlists, ffconcat scripts, stream descriptions) are refused: what they
    name would be read in the name of whoever runs this.

    Args:
        source: path or content.
        what: it is meant to be: video, or sound file.

    Raises:
        MediaError: in words, for whatever is in the way.
    """
    options: dict[str, Any] = {"container_options": _OPTIONS, "metadata_errors": "replace"}
    if isinstance(source, bytes):
        _refuse_scripts(source[:512], "the given bytes", what)
        try:
            return av.open(io.BytesIO(source), **options)
        except BAD as error:
            raise MediaError(f"the given bytes are not a {what} that can be read ({words(error)})") from None
    path = Path(source)
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder, not a {what}")
        if not path.is_file() and path.exists():
            raise MediaError(f"{path} is a pipe or a device, not a {what}; copy it into a file first")
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty (0 bytes)")
        with open(path, "rb") as file:
            _refuse_scripts(file.read(512), str(path), what)
        # `file:`, lest a colon in the name be read as a protocol.
        return av.open(f"file:{os.fspath(path)}", **options)
    except FileNotFoundError:
        raise MediaError(f"no {what} at {path}") from None
    except PermissionError:
        raise MediaError(f"{path} may not be read: permission denied") from None
    except MediaError:
        raise
    except BAD as error:
        raise MediaError(f"{path} is not a {what} that can be read ({words(error)})") from None


def words(error: BaseException) -> str:
    """What an error of PyAV or of the system says, without the file's name."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def picture_track(container: av.container.InputContainer, name: str | Path) -> av.VideoStream:
    """The picture track that a player shows.

    Covers, thumbnails and other still pictures are none. Raises MediaError where nothing is left.
    """
    tracks = [track for track in container.streams.video if not track.disposition & _PICTURES]
    if not tracks:
        raise MediaError(f"{name} has no picture track")
    # A track of one picture beside a longer one is a preview, whatever its flags say.
    moving = [track for track in tracks if track.frames != 1] or tracks
    known = [track for track in moving if track.codec_context is not None and track.width and track.height]
    if not known:
        raise MediaError(f"{name} has a picture track of unknown kind")
    return _preferred(known)


def sound_track(container: av.container.InputContainer) -> av.AudioStream | None:
    """The sound track that a player plays; None where there is none."""
    known = [track for track in container.streams.audio if track.codec_context is not None]
    return _preferred(known) if known else None


def _preferred(tracks: list[Track]) -> Track:
    """The default track; of several (or none) marked so, the first that is not made for some listeners only."""
    return min(
        tracks,
        key=lambda track: (not track.disposition & Disposition.default, bool(track.disposition & _ASIDE), track.index),
    )


def describe_choice(container: av.container.InputContainer, taken: av.VideoStream | av.AudioStream) -> str | None:
    """Which of several tracks was taken, in a sentence; None where there was no choice."""
    tracks = [track for track in container.streams if track.type == taken.type]
    if len(tracks) < 2:
        return None
    kind = "picture" if taken.type == "video" else "sound"
    number = [track.index for track in tracks].index(taken.index) + 1
    marks = ["the default one"] if taken.disposition & Disposition.default else []
    language = taken.language
    marks += [language] if language and language != "und" else []
    return f"{len(tracks)} {kind} tracks: number {number} was taken" + (f" ({', '.join(marks)})" if marks else "")


def read_packets(
    container: av.container.InputContainer, stream: av.stream.Stream, warnings: list[str]
) -> Iterator[av.Packet]:
    """Yield a stream's packets; a damaged end of the container ends it with a warning."""
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except StopIteration:
            return
        except BAD as error:
            warnings.append(f"the {stream.type} track breaks off ({words(error)})")
            return


def _refuse_scripts(head: bytes, name: str, what: str) -> None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for sign, kind in _SCRIPTS.items():
        if text.lower().startswith(sign.lower()) or (text.startswith(b"<?xml") and sign[:1] == b"<" and sign in text):
            raise MediaError(f"{name} is {kind}, not a {what}; give the {what} itself")
