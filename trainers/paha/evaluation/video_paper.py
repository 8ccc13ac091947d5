"""PAHA's table 1 and the time of a segment (PH-18, PH-20)."""

from typing import Any, Final

PAPER: Final[list[dict[str, Any]]] = [
    {
        "system": "PAHA, DG (PATS)",
        "fvd": 2048.75, "sync_c": 6.328, "fgd": 14.661, "diversity": 98.24, "bas": 0.1602, "segment_seconds": 112,
    },
    {"system": "PAHA, DG (CNAS)", "fvd": 1362.44, "sync_c": 4.092, "fgd": 23.715, "diversity": 37.54, "bas": 0.1275},
    {"system": "PAHA, SG", "segment_seconds": 98},
    {"system": "PAHA, no guidance", "segment_seconds": 85},
]  # fmt: skip
TITLES: Final = {"fvd": "FVD", "sync_c": "Sync-C"}
"""Of figures that may be missing here, for want of weights."""
PAPER_SOURCE: Final = "PAHA, table 1; seconds for a segment of 256 x 256 pixels"
DIFFERENT: Final = (
    "The paper's figures are of other data (PATS: speakers jon, chemistry, oliver, seth; CNAS: its own) and other "
    "networks to measure with: FGD and Diversity live in the features of a pose autoencoder, FVD in those of I3D on "
    "frames of its size, and how it found poses, onsets and beats for BAS is not said. None of them may be compared "
    "with these; only rows of one table may. Its seconds are of a segment of 32 frames in 30 steps on a GPU that it "
    "does not name, and hold decoding: so the rise to 1.15 (SG) and 1.32 times (DG) is less than that of the sampling "
    "alone, whose network evaluations and gradients are counted here (30; 30 and 30; 60 and 30)."
)
