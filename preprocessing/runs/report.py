"""The quality report of a preprocessing run: what was kept, what was dropped and why, and how the key points lie."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from datamodules.clip import ClipInfo, decode
from datamodules.media.files import read_frames
from datamodules.shards.index import Index, SampleEntry
from datamodules.shards.members import read_first, read_members
from models.human.draw import draw_box, draw_pose
from models.human.motion_masks import motion_masks
from preprocessing.step import REASONS
from reports import Page
from reports.charts import bars, histogram

HISTOGRAMS: Final = {
    "pose_confidence": ("Confidence of nose, neck and face points", "mean score, 0 to 1"),
    "face_size": ("Size of the face", "heights of the picture"),
    "frontal": ("Facing the camera", "share of the frames with a face"),
    "loudness": ("Loudness", "dB of full scale"),
    "snr": ("Loud moments of the sound over quiet ones", "dB"),
    "seconds": ("Length of the clips", "seconds"),
    "hands": ("Hands in view", "share of the frames with a hand"),
    "lip_movement": ("Movement of the lips", "face heights"),
    "smplx_error": ("2D error of the SMPL-X fit", "body heights"),
}
SHARES: Final = ("pose_confidence", "frontal", "hands")
"""Figures from 0 to 1."""
_TINTS: Final = {"face_hands": (70, 200, 90), "lips": (230, 60, 60)}
_BOX: Final = (255, 210, 0)


def write_report(output: str | Path, clips: int = 8, frames: int = 4) -> Path:
    """Write `report.html` from a folder's index, summary and shards.

    Args:
        output: the output folder of a finished run.
        clips: how many clips the contact sheet shows, spread over the data set.
        frames: how many frames of each.

    Returns:
        Path of the page: one file with everything inside.
    """
    output = Path(output)
    index = Index.load(output)
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    page = Page(
        "Preprocessing report", f"{index.samples} clips in {len(index.shards)} shards, {index.fps:g} frames a second."
    )
    _overview(page, index, summary)
    _drops(page, summary)
    _histograms(page, list(_figures(output, index)), summary)
    _contact_sheet(page, output, index, clips, frames)
    return page.write(output / "report.html")


def contact_row(
    info: ClipInfo, arrays: dict[str, dict[str, np.ndarray]], video: bytes, frames: int = 4, height: int = 240
) -> np.ndarray:
    """Some frames of a clip side by side, with motion masks, face box and pose drawn over them.

    Args:
        info: the clip's description.
        arrays: its `pose.npz`, and `face.npz` where there is one.
        video: its mp4.
        frames: how many frames, spread over the clip.
        height: rows of the picture.

    Returns:
        (height, W, 3) uint8 RGB.
    """
    chosen = np.unique(np.linspace(0, info.frames - 1, frames + 2).round().astype(int)[1:-1])
    pose = np.concatenate([arrays["pose.npz"]["keypoints"], arrays["pose.npz"]["scores"][..., None]], -1)
    boxes = arrays.get("face.npz", {}).get("boxes")
    tiles = []
    for number, frame in enumerate(read_frames(video)):
        if number in chosen:
            width = max(1, round(height * frame.shape[1] / frame.shape[0]))
            tile = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
            tiles.append(_annotate(tile, pose[number], None if boxes is None else boxes[number]))
        if number >= chosen[-1]:
            break
    return np.hstack(tiles)


def _annotate(tile: np.ndarray, pose: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """One frame with everything over it."""
    height, width = tile.shape[:2]
    masks = motion_masks(pose[None], height, width)
    for name, tint in _TINTS.items():
        inside = masks[name][0] > 0
        tile[inside] = (0.7 * tile[inside] + 0.3 * np.array(tint)).astype(np.uint8)
    tile = draw_pose(pose, height, width, tile)
    return tile if box is None or (box < -0.5).any() else draw_box(tile, box, _BOX)


def _overview(page: Page, index: Index, summary: dict[str, Any]) -> None:
    seconds = sum(sample.frames for shard in index.shards for sample in shard.samples) / index.fps
    page.section("Summary")
    page.facts(
        {
            "Videos": summary["videos"],
            "Clips kept": index.samples,
            "Time kept": f"{seconds / 3600:.2f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes",
            "Clips dropped": sum(summary["dropped"].values()),
            "Files not taken": summary.get("skipped", 0),
            "Videos with errors": len(summary["errors"]),
            **{f"Clips in {split}": count for split, count in summary.get("splits", {}).items()},
        }
    )
    rates = summary.get("frames_per_second", {})
    took = summary.get("seconds", {})
    page.section("Time by step")
    page.table([{"step": step, "seconds": took[step], "frames a second": rates.get(step, "")} for step in took])


def _drops(page: Page, summary: dict[str, Any]) -> None:
    page.section("Dropped clips", "" if summary["dropped"] else "No clip was dropped.")
    if summary["dropped"]:
        names = [reason for reason in REASONS if summary["dropped"].get(reason)]
        counts = {reason.replace("_", " "): summary["dropped"][reason] for reason in names}
        with page.grid(wide=True):
            page.figure(bars(counts, "clips"), "Clips dropped, by reason")
        page.table([{"reason": name, "clips": summary["dropped"][name], "meaning": REASONS[name]} for name in names])
        shown = summary.get("drops", [])[:100]
        page.table(
            [{key: drop.get(key, "") for key in ("file", "start", "end", "reason", "detail")} for drop in shown],
            f"The first {len(shown)} of them." if len(shown) < len(summary.get("drops", [])) else "",
        )
    page.section("Videos with errors", "" if summary["errors"] else "Every video could be read.")
    page.table([{"file": error["file"], "error": error["reason"]} for error in summary["errors"]])
    if summary.get("skips"):
        page.section("Found and not taken", "Links and copies are taken once; other files are counted by their ending.")
        page.table([{key: skip[key] for key in ("file", "reason", "count")} for skip in summary["skips"][:100]])
    if summary.get("cut_short"):
        page.section("Spans cut short", "They reach past the end of their video; what is there was taken.")
        page.table(summary["cut_short"][:100])
    if summary.get("notes"):
        page.section("Notes")
        page.table([{"note": note} for note in summary["notes"]])
    if summary.get("warnings"):
        page.section("Warnings", "These videos were used all the same.")
        page.table(summary["warnings"][:100])


def _histograms(page: Page, kept: list[dict[str, float]], summary: dict[str, Any]) -> None:
    """Histograms of the figures; dropped clips that have the figure stand on top of the kept ones."""
    dropped = [
        {**{k: v for k, v in drop.get("figures", {}).items() if v is not None}, "seconds": drop["end"] - drop["start"]}
        for drop in summary.get("drops", [])
    ]
    page.section("Figures of the clips", "" if kept or dropped else "There are no clips.")
    with page.grid():
        for name, (title, unit) in HISTOGRAMS.items():
            groups = {
                label: [clip[name] for clip in group if name in clip]
                for label, group in (("kept", kept), ("dropped", dropped))
            }
            if any(groups.values()):
                page.figure(histogram(groups, unit, between=(0, 1) if name in SHARES else None), title)


def _contact_sheet(page: Page, output: Path, index: Index, clips: int, frames: int) -> None:
    samples = [(shard.name, sample) for shard in index.shards for sample in shard.samples]
    usable = [entry for entry in samples if {"video.mp4", "pose.npz"} <= set(entry[1].keys)]
    page.section(
        "Contact sheet",
        "Key points, face box (yellow) and motion masks (face and hands green, lips red) over the frames."
        if usable
        else "No clip has a video and a pose.",
    )
    with page.grid(wide=True):
        for place in np.unique(np.linspace(0, len(usable) - 1, min(clips, len(usable))).round().astype(int)):
            name, sample = usable[place]
            keys = [key for key in ("clip.json", "pose.npz", "face.npz", "video.mp4") if key in sample.keys]
            values = _read(output / name, sample, keys)
            info = values.pop("clip.json")
            row = contact_row(info, values, values.pop("video.mp4"), frames)
            page.image(row, f"{info.source}, {info.split}", sample.id)


def _figures(output: Path, index: Index) -> Iterator[dict[str, float]]:
    """The quality figures of every clip, out of its `clip.json`."""
    for shard in index.shards:
        for sample in shard.samples:
            info = _read_info(output / shard.name, sample)
            quality = {name: value for name, value in info.extra.get("quality", {}).items() if value is not None}
            yield {**quality, "seconds": info.frames / info.fps}


def _read(path: Path, sample: SampleEntry, keys: list[str]) -> dict[str, Any]:
    """Some keys of a sample, decoded."""
    with open(path, "rb") as file:
        file.seek(sample.offset)
        section = file.read(sample.size)
    return {key: decode(key, data, sample.id) for key, data in read_members(section, sample.id, keys).items()}


def _read_info(path: Path, sample: SampleEntry) -> ClipInfo:
    """A sample's `clip.json`, its first member; the rest is not read."""
    with open(path, "rb") as file:
        file.seek(sample.offset)
        return decode("clip.json", read_first(file, sample.id, "clip.json"), sample.id)
