"""MMGT's tables I and II, as far as they are of videos (MMGT-23)."""

from typing import Any, Final

PAPER: Final[list[dict[str, Any]]] = [
    {
        "system": "MMGT, audio driven (I)",
        "sync_d": 10.16, "sync_c": 4.51, "fid_i3d": 7.90, "fvd": 230.89, "psnr": 31.29, "ssim": 0.6378, "lpips": 0.2305,
        "face_fid_i3d": 3.43, "face_fvd": 99.38, "face_kvd": 10.49, "face_psnr": 29.87, "face_ssim": 0.4413,
        "face_lpips": 0.2535, "fgd": 6.02, "diversity": 0.0824,
    },
    {
        "system": "MMGT, pose driven (II)",
        "fid_i3d": 4.72, "fvd": 135.00, "psnr": 32.62, "ssim": 0.8168, "lpips": 0.1225,
        "face_fid_i3d": 2.96, "face_fvd": 84.24, "face_kvd": 8.531, "face_psnr": 31.59, "face_ssim": 0.8315,
        "face_lpips": 0.0982,
    },
]  # fmt: skip
"""A figure of a face is of the face crop; FID is on I3D's features, as IV-A says."""

TITLES: Final = {
    "sync_d": "Sync-D", "sync_c": "Sync-C", "fid_i3d": "FID (I3D)", "fvd": "FVD", "lpips": "LPIPS",
    "face_fid_i3d": "FID (I3D), face", "face_fvd": "FVD, face", "face_kvd": "KVD, face", "face_lpips": "LPIPS, face",
    "face_psnr": "PSNR, face", "face_ssim": "SSIM, face", "fgd": "FGD", "diversity": "Diversity",
}  # fmt: skip
"""Of figures that may be missing here, for want of weights."""

PAPER_SOURCE: Final = "MMGT, tables I (audio driven) and II (pose driven), videos at 256 x 256"
DIFFERENT: Final = (
    "The paper's figures are of other data (PATS: speakers jon, kubinec, oliver, seth, 2,048 test windows) at 256 x "
    "256; they may not be compared with these unless data, size, weights and frames are the same. The paper prints the "
    "two Sync columns under each other's names (its Syn-C falls where lips are better, its Syn-D rises): here C is "
    "confidence, higher is better, and D distance, lower is better. FGD and Diversity live in the features of its own "
    "pose autoencoder."
)
