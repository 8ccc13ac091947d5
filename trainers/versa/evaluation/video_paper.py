"""VersaAnimator's table 1 (VA-17)."""

from typing import Any, Final

PAPER: Final[list[dict[str, Any]]] = [
    {
        "system": "VersaAnimator, with pose",
        "fid": 16.28, "fvd": 128.40, "ssim": 0.26, "psnr": 20.69, "efid": 3.12, "sync_d": 8.85, "sync_c": 6.55,
        "csim": 0.99,
    },
    {
        "system": "VersaAnimator, audio alone",
        "fid": 29.28, "fvd": 235.84, "ssim": 0.32, "psnr": 16.44, "efid": 7.73, "sync_d": 8.57, "sync_c": 6.75,
        "csim": 0.74,
    },
]  # fmt: skip
TITLES: Final = {
    "fid": "FID", "fvd": "FVD", "efid": "E-FID", "sync_d": "Sync-D", "sync_c": "Sync-C", "csim": "CSIM",
}  # fmt: skip
"""Of figures that may be missing here, for want of weights."""
PAPER_SOURCE: Final = "VersaAnimator, table 1"
DIFFERENT: Final = (
    "The paper's figures are of other data and larger frames, and of the published networks that each is named after; "
    "they may not be compared with these unless data, size, weights and frames are the same. It does not say what its "
    "CSIM is taken against, nor how its faces are found. Its SSIM is higher by audio alone than with pose, as printed."
)
