"""`index.json`: what the shards of a data set hold, so that loss and damage can be seen and named."""

import json
import os
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from datamodules.clip import VERSION

FILE_NAME: Final = "index.json"


class IndexFileError(ValueError):
    """An index that is missing or damaged; the message says which and what to do."""


class SampleEntry(BaseModel):
    """One sample of a shard.

    Attributes:
        keys: bytes of each key.
        offset, size: where the sample's members lie in the tar, in bytes, headers included.
    """

    model_config = ConfigDict(extra="forbid")
    id: str
    keys: dict[str, int]
    frames: int
    split: str = "train"
    speaker: str | None = None
    offset: int
    size: int


class ShardEntry(BaseModel):
    """One tar file."""

    model_config = ConfigDict(extra="forbid")
    name: str
    bytes: int
    sha256: str
    samples: list[SampleEntry]


class Index(BaseModel):
    """All shards of a data set and the statistics of its training split (`datamodules.statistics`)."""

    model_config = ConfigDict(extra="forbid")
    version: int = VERSION
    fps: float
    shards: list[ShardEntry]
    statistics: dict[str, Any] = {}

    @property
    def samples(self) -> int:
        """Number of samples in all shards."""
        return sum(len(shard.samples) for shard in self.shards)

    def to_bytes(self) -> bytes:
        """The file's content; the same index always gives the same bytes."""
        return (json.dumps(self.model_dump(), indent=1, sort_keys=True, allow_nan=False) + "\n").encode()

    def save(self, folder: str | Path) -> Path:
        """Write `folder/index.json` whole or not at all."""
        path = Path(folder) / FILE_NAME
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(self.to_bytes())
        os.replace(temporary, path)
        return path

    @classmethod
    def load(cls, location: str | Path) -> "Index":
        """Read the index of a folder, an index file, or a URL of either (http, https, s3 through fsspec).

        Raises:
            IndexFileError: no index there, or a damaged one.
        """
        location = str(location)
        if not location.endswith(".json"):
            location = f"{location.rstrip('/')}/{FILE_NAME}"
        try:
            if "://" in location:
                import fsspec

                with fsspec.open(location, "rb") as file:
                    data = file.read()
            else:
                data = Path(location).read_bytes()
        except OSError as error:
            raise IndexFileError(
                f"no index at {location} ({type(error).__name__}); make shards with "
                "`python -m preprocessing.run input=VIDEOS output=FOLDER`, or wait until preprocessing has finished"
            ) from None
        except ImportError as error:
            raise IndexFileError(f"{location} needs another package: {error}") from None
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "file"
            raise IndexFileError(f"{location} is damaged: {where}: {first['msg']}") from None
