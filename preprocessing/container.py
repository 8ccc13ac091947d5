"""Opening media files, and reading their packets as far as they go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av

from datamodules.media import MediaError


def open_container(path: Path) -> av.container.InputContainer:
    """Open a file for reading. Raises MediaError, in words, for whatever is in the way."""
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder, not a video")
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty (0 bytes)")
        return av.open(str(path))
    except FileNotFoundError:
        raise MediaError(f"no video at {path}") from None
    except PermissionError:
        raise MediaError(f"{path} may not be read: permission denied") from None
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path} is not a video that can be read ({error.strerror or error})") from None


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
        except (av.FFmpegError, OSError) as error:
            warnings.append(f"the {stream.type} track breaks off ({error})")
            return
