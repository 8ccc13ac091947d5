"""The members of one sample of a tar, read through webdataset."""

import io
import os
from collections.abc import Collection
from typing import Any, BinaryIO

os.environ["WDS_SECURE"] = "1"  # no pickle and no `pipe:`; webdataset reads it once, when it is imported

import webdataset

from datamodules.clip import BadSample

webdataset.utils.enforce_security = True  # it may have been imported by somebody else before


def read_members(section: bytes, clip_id: str, wanted: Collection[str]) -> dict[str, bytes]:
    """Bytes of the wanted keys of a sample.

    Args:
        section: the part of the tar that holds the sample's members.
        clip_id: the sample that the index says is there.
        wanted: keys.

    Raises:
        BadSample: a damaged header, another sample than the index says, or a key that is not there.
    """
    source = [{"url": clip_id, "stream": io.BytesIO(section)}]
    tar = webdataset.tariterators
    files = tar.tar_file_expander(source, select_files=lambda name: name.partition(".")[2] in wanted)
    try:
        samples = list(tar.group_by_keys(files))
    except Exception as error:  # webdataset lets through whatever tarfile and zlib raise
        raise BadSample(f"tar: cannot be read ({type(error).__name__})", clip_id) from None
    found: dict[str, bytes] = next((sample for sample in samples if sample["__key__"] == clip_id), {})
    if not found:
        raise BadSample("tar: the sample is not where the index says", clip_id)
    for key in wanted:
        if key not in found:
            raise BadSample(f"{key} is missing", clip_id)
    return {key: found[key] for key in wanted}


def read_first(file: BinaryIO, clip_id: str, key: str) -> bytes:
    """Bytes of the sample that begins where the file stands, if its first member is the given key. Raises BadSample."""
    tar = webdataset.tariterators
    files = tar.tar_file_expander([{"url": clip_id, "stream": file}])
    try:
        member: dict[str, Any] = next(files, {})
    except Exception as error:  # as above
        raise BadSample(f"tar: cannot be read ({type(error).__name__})", clip_id) from None
    if member.get("fname") != f"{clip_id}.{key}":
        raise BadSample("tar: the sample is not where the index says", clip_id)
    return member["data"]
