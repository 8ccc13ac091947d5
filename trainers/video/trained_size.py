"""The size of frames that a network of latent video was trained on."""

from collections.abc import Mapping
from typing import Any

from datamodules.clips import read_clips
from datamodules.media.fitting import FitMode
from datamodules.shards.index import Index, IndexFileError


def trained_at(data: Mapping[str, Any], shards: str | None = None) -> tuple[tuple[int, int] | None, FitMode]:
    """Height and width of the frames that a network was trained on, and how others come to it.

    What the run's config says; else what latents stand for that are cached in the shards measured on, or in those of
    the run; else None, each clip's own.

    Args:
        data: that section of the run's config.
        shards: that are measured on, if any.
    """
    how: FitMode = data.get("video_fit") or "crop"
    if size := data.get("video_size"):
        return (int(size[0]), int(size[1])), how
    for where in dict.fromkeys((shards, data.get("shards"))):
        if where is None:
            continue
        try:
            index = Index.load(where)
        except IndexFileError:  # the run was moved away from its data
            continue
        ids = [sample.id for shard in index.shards for sample in shard.samples if "latents.npz" in sample.keys]
        for _, values in read_clips(where, ("latents.npz",), where={"id": ids[:1]}) if ids else ():
            if "frame" in values["latents.npz"]:
                height, width, bars = values["latents.npz"]["frame"].tolist()
                return (height, width), "pad" if bars else "crop"
    return None, how
