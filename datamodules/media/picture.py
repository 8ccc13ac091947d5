"""Reading pictures of every kind that people have: 8 bits of red, green and blue, as a viewer shows them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datamodules.media.container import MediaError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_HEIC = {b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")}
_WHITE_IS_ZERO = 0  # of TIFF's tag PhotometricInterpretation


def read_image(path: str | Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB, turned as its EXIF data says, transparency laid over white.

    The file's content decides its format, not its name; of several pictures in it the first is taken. Sixteen bits a
    channel are scaled to eight, and colours of another space than sRGB (Display P3 of phones, CMYK with a profile) are
    brought into it.

    Raises:
        MediaError: no picture, a damaged or far too large one, or one whose numbers have no known white.
    """
    from PIL import Image

    try:
        # Pillow warns from a quarter of the size on at which it refuses; cameras make such pictures.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as opened:
            _sixteen_bit_transparency(opened)
            opened.load()
            return _eight_bits(opened, path)
    except FileNotFoundError:
        raise MediaError(f"no picture at {path}") from None
    except MediaError:
        raise
    # Pillow's readers raise kinds of many sorts for damaged files, a SyntaxError among them.
    except Exception as error:
        if _is_heic(path):
            raise MediaError(f"{path} is a HEIC picture, which is not read here; save it as JPEG or PNG") from None
        reason = " ".join(str(error).split())[:200]
        raise MediaError(f"{path} is not a picture that can be read ({reason or type(error).__name__})") from None


def _is_heic(path: str | Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(12)[4:] in _HEIC
    except OSError:
        return False


def _sixteen_bit_transparency(opened: Picture) -> None:
    """Pillow reads the high byte of each of 16 bits, but leaves the colour that is transparent as it stands."""
    transparent = opened.info.get("transparency")
    tiles = getattr(opened, "tile", None)
    if isinstance(transparent, tuple) and tiles and "16" in str(tiles[0][3]):
        opened.info["transparency"] = tuple(value >> 8 for value in transparent)


def _eight_bits(image: Picture, path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a picture of any mode."""
    from PIL import Image, ImageOps

    format, inverted = image.format, getattr(image, "tag_v2", {}).get(262) == _WHITE_IS_ZERO
    image = ImageOps.exif_transpose(image)
    # Pillow scales what a PGM calls white to 65535, in 32 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and format == "PPM"):
        stored = np.asarray(image).astype(np.int64)
        grey = ((65535 - stored if inverted else stored) / 257).round().clip(0, 255).astype(np.uint8)
        grey[stored == image.info.get("transparency")] = 255
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        kind = "whole numbers of 32 bits" if image.mode == "I" else "floating-point numbers"
        raise MediaError(f"{path} holds {kind}, of which nobody can say which is white; save it with 8 or 16 bits")
    profile = image.info.get("icc_profile")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.asarray(_in_srgb(image, profile).convert("RGB"))


def _in_srgb(image: Picture, profile: bytes | None) -> Picture:
    """The picture in sRGB; as it is where it has no profile, or one that does not fit it."""
    from PIL import ImageCms

    if not profile:
        return image
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(own).lower():
            return image
        if image.mode == "P":
            image = image.convert("RGB")
        return ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
