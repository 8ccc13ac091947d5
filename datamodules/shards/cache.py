"""Where shards are: a local folder, or a remote one whose shards are copied to a local cache, whole and checked."""

import contextlib
import os
import time
from pathlib import Path
from typing import Any, BinaryIO, Final

from datamodules.shards.index import FILE_NAME, ShardEntry
from settings.hashes import file_hash
from settings.locks import alone
from settings.log import get_logger

logger = get_logger(__name__)

_SILENCE: Final = 60.0  # seconds without a byte after which a connection counts as broken


class ShardError(OSError):
    """A shard that cannot be had; the message says which, why, and what to do."""


def default_cache() -> Path:
    """The environment variable COSPEECH_CACHE, else a folder of the user's cache."""
    return Path(
        os.environ.get("COSPEECH_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "cospeech"
    ).expanduser()


class ShardFolder:
    """Opens the shards of one data set.

    Remote shards are downloaded on first use under a temporary name, compared with the index's checksum, and only then
    given their name, which holds the checksum; processes that want the same shard wait for the one that fetches it.

    Args:
        location: folder, index file, or URL of either (http, https, s3, ... through fsspec).
        cache: folder for copies of remote shards; `default_cache` where None.
        limit: bytes that the cache may hold; the longest unused shards leave first. None for no limit.
        tries: how often a download is tried.
        pause: seconds before the second try, doubled with each.

    Raises:
        ShardError: a location that would run a command, or of an unknown kind.
    """

    def __init__(
        self,
        location: str | Path,
        cache: str | Path | None = None,
        limit: int | None = None,
        tries: int = 5,
        pause: float = 1.0,
    ):
        location = str(location)
        if location.startswith("pipe:"):
            raise ShardError(f"shards '{location}' would run a command; give a folder, or a URL with http, https or s3")
        self.remote = "://" in location
        base = location.rsplit("/", 1)[0] if location.endswith(".json") and "/" in location else location
        if location == FILE_NAME:
            base = "."
        self.base = base.rstrip("/") or "/"
        self.cache = Path(cache) if cache is not None else default_cache()
        self._copies = self.cache / "shards"
        self._limit, self._tries, self._pause = limit, tries, pause

    def open(self, shard: ShardEntry) -> BinaryIO:
        """An open file of a shard, fetched first where that is needed.

        Raises:
            ShardError: it is not there, or could not be fetched.
        """
        if not self.remote:
            try:
                return open(self._local(shard), "rb")
            except OSError as error:
                raise ShardError(
                    f"cannot open shard {self._local(shard)} ({error.strerror}), which {FILE_NAME} names; copy it "
                    f"there, or run `python -m preprocessing.verify {self.base}` to see what else is missing"
                ) from None
        while True:
            path = self.fetch(shard)
            # Another process may clear the cache between fetching and opening: then it is fetched again.
            with contextlib.suppress(FileNotFoundError):
                return open(path, "rb")

    def check(self, shards: list[ShardEntry]) -> list[str]:
        """What is seen to be wrong with local shards without reading them: missing ones raise, wrong sizes are told."""
        problems = []
        for shard in shards if not self.remote else []:
            self.open(shard).close()
            size = self._local(shard).stat().st_size
            if size != shard.bytes:
                problems.append(f"{self._local(shard)} has {size} bytes, {FILE_NAME} says {shard.bytes}")
        return problems

    def fetch(self, shard: ShardEntry) -> Path:
        """The local copy of a remote shard, downloaded where it is not in the cache."""
        path = self._copies / f"{shard.sha256[:32]}-{shard.name}"
        if path.exists():
            os.utime(path)
            return path
        self._copies.mkdir(parents=True, exist_ok=True)
        with alone(path.with_name(f".{path.name}.lock"), wait=True):
            if not path.exists():
                self._download(shard, path)
                self._make_room(path)
        return path

    def _local(self, shard: ShardEntry) -> Path:
        return Path(self.base) / shard.name

    def _download(self, shard: ShardEntry, path: Path) -> None:
        url, temporary = f"{self.base}/{shard.name}", path.with_name(f".{path.name}.{os.getpid()}")
        problem = ""
        for attempt in range(self._tries):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1))
            try:
                _copy(url, temporary)
                problem = _difference(temporary, shard)
                if not problem:
                    os.replace(temporary, path)
                    return
            except (FileNotFoundError, PermissionError) as error:
                raise ShardError(f"{url} is not there or may not be read ({error}), but {FILE_NAME} names it") from None
            except ImportError as error:
                raise ShardError(f"{url} needs another package: {error}") from None
            except Exception as error:  # every file system of fsspec raises kinds of its own for a broken connection
                problem = f"{type(error).__name__}: {error}"
            finally:
                temporary.unlink(missing_ok=True)
            logger.warning("%s, try %d of %d: %s", url, attempt + 1, self._tries, problem)
        raise ShardError(
            f"{url} could not be fetched in {self._tries} tries; the last said: {problem}. Look at the "
            f"connection, the server and the free space of {self._copies}; shards fetched so far stay there"
        )

    def _make_room(self, kept: Path) -> None:
        if self._limit is None:
            return
        files = []
        for path in self._copies.glob("[!.]*"):
            with contextlib.suppress(FileNotFoundError):
                files.append((path.stat().st_mtime, path.stat().st_size, path))
        held = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if held <= self._limit:
                return
            if path != kept:
                path.unlink(missing_ok=True)
                held -= size


def _copy(url: str, path: Path) -> None:
    import fsspec

    options: dict[str, Any] = {}
    if url.startswith(("http://", "https://")):
        import aiohttp

        # fsspec's default ends any download after five minutes; only silence shall.
        options["client_kwargs"] = {
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)
        }
    system, name = fsspec.core.url_to_fs(url, **options)
    system.get_file(name, str(path))


def _difference(path: Path, shard: ShardEntry) -> str:
    size = path.stat().st_size
    if size != shard.bytes:
        return f"{size} bytes came, {FILE_NAME} says {shard.bytes}"
    return "" if file_hash(path) == shard.sha256 else f"its checksum differs from the one in {FILE_NAME}"
