"""HDR pictures (BT.2100: PQ and HLG, BT.2020 colours) as ordinary sRGB ones.

FFmpeg's own filters for this need a library (zimg) that PyAV's wheels do not bring.
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

import numpy as np

Transfer = Literal["pq", "hlg"]

WHITE: Final = 203.0  # cd/m2 of a white sheet of paper in HDR (BT.2408), which becomes SDR's brightest
PEAK: Final = 1000.0  # cd/m2 of the brightest highlight that is told apart; BT.2408's HLG display, and most PQ masters
_TO_709: Final = np.array(  # BT.2020 to BT.709 primaries, both of linear light (BT.2087 inverted)
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)
_LUMA: Final = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128


def tone_map(picture: np.ndarray, transfer: Transfer) -> np.ndarray:
    """An HDR picture as sRGB.

    Up to about 90 cd/m2 (skin in ordinary light) nothing changes; what is brighter is pressed together so that
    1,000 cd/m2 becomes 255, by the curve of BT.2390 over the largest of the three channels, which keeps the hue.

    Args:
        picture: (H, W, 3) uint16, full-range R'G'B' of BT.2100.
        transfer: its curve.

    Returns:
        (H, W, 3) uint8.
    """
    light = _decode(transfer)[picture]  # 1 is WHITE for PQ; scene light in [0, 1] for HLG
    if transfer == "hlg":
        # The display's own gamma is 1.2 at 1,000 cd/m2 (BT.2100, table 5).
        luminance = np.maximum(light @ _LUMA, 1e-6)
        light = light * (np.float32(PEAK / WHITE) * luminance ** np.float32(0.2))[..., None]
    light = np.maximum(light @ _TO_709.T, 0)
    largest = light.max(-1)
    levels, gains = _gains()
    light *= np.interp(largest, levels, gains).astype(np.float32)[..., None]
    return _srgb()[(np.minimum(light, 1) * 65535 + 0.5).astype(np.uint16)]


def pq_decode(signal: np.ndarray) -> np.ndarray:
    """PQ signal in [0, 1] to cd/m2 (BT.2100, table 4)."""
    power = np.power(signal, 1 / _M2)
    return 10000 * np.power(np.maximum(power - _C1, 0) / (_C2 - _C3 * power), 1 / _M1)


def pq_encode(light: np.ndarray) -> np.ndarray:
    """cd/m2 to PQ signal in [0, 1] (BT.2100, table 4)."""
    power = np.power(light / 10000, _M1)
    return np.power((_C1 + _C2 * power) / (1 + _C3 * power), _M2)


def hlg_decode(signal: np.ndarray) -> np.ndarray:
    """HLG signal in [0, 1] to scene light in [0, 1] (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


@cache
def _decode(transfer: Transfer) -> np.ndarray:
    signal = np.arange(65536) / 65535
    return (pq_decode(signal) / WHITE if transfer == "pq" else hlg_decode(signal)).astype(np.float32)


@cache
def _gains() -> tuple[np.ndarray, np.ndarray]:
    """Light (1 is WHITE), and what to multiply it with: BT.2390's curve from PEAK to WHITE, in PQ."""
    levels = np.concatenate([np.linspace(0, PEAK / WHITE, 2048), [10000 / WHITE]])
    top = pq_encode(np.array(PEAK))
    signal = np.minimum(pq_encode(levels * WHITE) / top, 1)
    most = pq_encode(np.array(WHITE)) / top
    knee = 1.5 * most - 0.5
    t = np.maximum(signal - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    mapped = pq_decode(np.where(signal > knee, spline, signal) * top) / WHITE
    return levels, np.divide(mapped, levels, out=np.ones_like(levels), where=levels > 0)


@cache
def _srgb() -> np.ndarray:
    light = np.arange(65536) / 65535
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)
    return np.rint(coded * 255).astype(np.uint8)
