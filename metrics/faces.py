"""Faces cut out of frames as the networks that judge them want them."""

from typing import Final

import numpy as np

DEEP3D_SIDE: Final = 224
DEEP3D_POINTS: Final = np.array(
    [
        (-0.31148657, 0.29036078, 0.13377953),
        (0.30979887, 0.28972036, 0.13179526),
        (0.0032535, -0.04617932, 0.55244243),
        (-0.25216928, -0.38133916, 0.22405732),
        (0.2484662, -0.38128236, 0.22235769),
    ]
)
"""Deep3DFaceRecon's mean face: eyes, tip of the nose, corners of the mouth; left is left in the picture, y up."""
_DEEP3D_SCALE: Final = 102.0
SYNCNET_SIDE: Final = 224
_SYNCNET_MARGIN: Final = 0.4
_SYNCNET_GREY: Final = 110
_SYNCNET_SMOOTHING: Final = 13


def deep3d_crops(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Faces as Deep3DFaceRecon cuts them (`util/preprocess.py`, align_img): scaled and shifted, not turned.

    The scale is that of the affine camera which brings the mean face's five points nearest to the picture's, times 102;
    the middle of the mean face becomes the middle of the crop. Bicubic; black outside the frame.

    Args:
        frames: (T, H, W, 3) uint8.
        points: (T, 68, 2) iBUG-68 as fractions of the frame.

    Returns:
        (T, 224, 224, 3) uint8.
    """
    from PIL import Image

    height, width = frames.shape[1:3]
    camera = np.linalg.pinv(np.concatenate([DEEP3D_POINTS, np.ones((5, 1))], 1))  # (4, 5)
    crops = []
    for frame, face in zip(frames, points, strict=True):
        pixels = face * (width, height)
        pixels[:, 1] = height - 1 - pixels[:, 1]
        five = np.stack([pixels[[36, 39]].mean(0), pixels[[42, 45]].mean(0), pixels[30], pixels[48], pixels[54]])
        found = camera @ five  # (4, 2): a column for x and one for y, the shift last
        scale = _DEEP3D_SCALE / np.linalg.norm(found[:3], axis=0).mean()
        size = int(width * scale), int(height * scale)
        x, y = found[3]
        left = int(size[0] / 2 - DEEP3D_SIDE / 2 + (x - width / 2) * scale)
        top = int(size[1] / 2 - DEEP3D_SIDE / 2 + (height / 2 - y) * scale)
        whole = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        crops.append(np.asarray(whole.crop((left, top, left + DEEP3D_SIDE, top + DEEP3D_SIDE))))
    return np.stack(crops)


def syncnet_crops(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Faces as SyncNet's own pipeline cuts them (`run_pipeline.py`, crop scale 0.4).

    A square around the box's middle, whose side is 1.4 times the box's longer side, shifted down by 0.2 of it; grey 110
    outside the frame. Middle and side are smoothed by a running median of 13 frames (repeated at the ends, where the
    pipeline has zeros); frames without a box take it from their neighbours.

    Args:
        frames: (T, H, W, 3) uint8.
        boxes: (T, 4) left, top, right, bottom of the face as fractions of the frame; -1 or NaN where missing.

    Returns:
        (T, 224, 224, 3) uint8.

    Raises:
        ValueError: another shape, or no box at all.
    """
    import cv2
    from scipy.ndimage import median_filter

    boxes = np.asarray(boxes, np.float64)
    if boxes.shape != (len(frames), 4):
        raise ValueError(f"face boxes are ({len(frames)}, 4): left, top, right, bottom; these are {boxes.shape}")
    there = has_box(boxes)
    if not there.any():
        raise ValueError("no frame of the clip has a face box")
    height, width = frames.shape[1:3]
    pixels = boxes * (width, height, width, height)
    half = np.maximum(pixels[:, 2] - pixels[:, 0], pixels[:, 3] - pixels[:, 1]) / 2
    tracks = np.stack([half, (pixels[:, 0] + pixels[:, 2]) / 2, (pixels[:, 1] + pixels[:, 3]) / 2])
    at = np.arange(len(frames))
    tracks = np.stack([np.interp(at, at[there], track[there]) for track in tracks])
    tracks = median_filter(tracks, size=(1, _SYNCNET_SMOOTHING), mode="nearest")
    crops = []
    for frame, (half, x, y) in zip(frames, tracks.T, strict=True):
        pad = int(half * (1 + 2 * _SYNCNET_MARGIN))
        padded = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), constant_values=_SYNCNET_GREY)
        top, bottom = int(y + pad - half), int(y + pad + half * (1 + 2 * _SYNCNET_MARGIN))
        left, right = int(x + pad - half * (1 + _SYNCNET_MARGIN)), int(x + pad + half * (1 + _SYNCNET_MARGIN))
        crop = padded[max(top, 0) : bottom, max(left, 0) : right]
        if not crop.size:
            raise ValueError(f"a face box lies outside the frame: middle {x:.0f}, {y:.0f} of {width} x {height} pixels")
        crops.append(cv2.resize(crop, (SYNCNET_SIDE, SYNCNET_SIDE)))
    return np.stack(crops)


def has_box(boxes: np.ndarray) -> np.ndarray:
    """Which boxes (T, 4) are there: not all -1, no NaN, with an area."""
    boxes = np.asarray(boxes, np.float64)
    with np.errstate(invalid="ignore"):
        area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return area & ~(boxes == -1).all(1) & ~np.isnan(boxes).any(1)
