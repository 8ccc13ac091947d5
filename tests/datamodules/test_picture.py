"""Pictures of the kinds that people have: each is read as a viewer shows it, or refused in one line."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from datamodules.media.container import MediaError
from datamodules.media.picture import read_image


def test_pictures_are_turned_and_laid_on_white(tmp_path: Path) -> None:
    photo = Image.fromarray(np.zeros((40, 20, 3), np.uint8))
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (20, 40, 3)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 255).all()


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "real.jpg")
    (tmp_path / "real.jpg").rename(tmp_path / "named.png")
    assert read_image(tmp_path / "named.png").shape == (8, 8, 3)


def ramp(high):
    """A grey ramp from 0 to `high`, 8 x 256."""
    return np.tile(np.linspace(0, high, 256).round(), (8, 1))


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_of_grey_keep_their_greys(tmp_path, ending):
    Image.fromarray(ramp(65535).astype(np.uint16)).save(tmp_path / f"a.{ending}")
    found = read_image(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(found, np.repeat(ramp(255).astype(np.uint8)[..., None], 3, 2))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pictures_without_a_known_white_are_refused(tmp_path, kind):
    Image.fromarray(ramp(255).astype(kind)).save(tmp_path / "a.tif")
    with pytest.raises(MediaError, match="nobody can say which is white"):
        read_image(tmp_path / "a.tif")


def test_a_phone_s_heic_is_named_and_a_broken_chunk_is_one_line(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(MediaError, match=r"HEIC picture.*save it as JPEG or PNG"):
        read_image(tmp_path / "a.heic")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data[:41] + b"\x00" * 20 + data[61:])
    (tmp_path / "c.png").write_bytes(data[:200])
    for name in ("b.png", "c.png"):
        with pytest.raises(MediaError, match="not a picture that can be read"):
            read_image(tmp_path / name)


def png(depth: int, kind: int, pixels: np.ndarray, transparent: tuple[int, ...] = ()) -> bytes:
    """A PNG of one row by its specification: kind 0 is grey, 2 is RGB, 4 and 6 the same with alpha."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", len(pixels), 1, depth, kind, 0, 0, 0)
    row = b"\0" + np.asarray(pixels).astype(">u2" if depth == 16 else "u1").tobytes()
    clear = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + clear + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    )


def read(tmp_path: Path, data: bytes) -> np.ndarray:
    (tmp_path / "picture").write_bytes(data)
    return read_image(tmp_path / "picture")


def saved(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def figure(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Four areas of other colours, so that each turn of it is another picture."""
    picture = Image.new("RGB", size, (200, 40, 40))
    width, height = size
    picture.paste((40, 200, 40), (width // 2, 0, width, height // 2))
    picture.paste((40, 40, 200), (0, height // 2, width // 2, height))
    picture.paste((230, 230, 230), (width // 2, height // 2, width, height))
    return picture


def middles(picture: np.ndarray) -> np.ndarray:
    """The colours in the middles of the four areas, row by row, (4, 3)."""
    height, width = picture.shape[:2]
    return np.array([picture[y, x] for y in (height // 4, -height // 4) for x in (width // 4, -width // 4)], int)


FIGURE = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [230, 230, 230]])


@pytest.mark.parametrize(
    ("data", "off"),
    [
        pytest.param(lambda: saved(figure().convert("CMYK"), "JPEG", quality=95), 12, id="CMYK JPEG"),
        pytest.param(lambda: saved(figure().convert("CMYK"), "TIFF"), 1, id="CMYK TIFF"),
        pytest.param(lambda: saved(figure(), "JPEG", quality=95, progressive=True), 12, id="progressive JPEG"),
        pytest.param(lambda: saved(figure(), "AVIF", quality=95), 12, id="AVIF"),
        pytest.param(lambda: saved(figure(), "WEBP", lossless=True), 0, id="WebP"),
        pytest.param(lambda: saved(figure(), "JPEG2000"), 1, id="JPEG 2000"),
        pytest.param(lambda: saved(figure().convert("YCbCr"), "TIFF"), 3, id="YCbCr TIFF"),
        pytest.param(lambda: saved(figure().quantize(8), "GIF"), 0, id="GIF"),
        pytest.param(lambda: saved(figure().quantize(8), "PNG"), 0, id="palette PNG"),
        pytest.param(lambda: saved(figure(), "BMP"), 0, id="BMP"),
        pytest.param(lambda: saved(figure(), "ICO", sizes=[(64, 48)]), 0, id="ICO"),
    ],
)
def test_every_format_keeps_its_colours(tmp_path, data, off):
    found = read(tmp_path, data())
    assert (found.shape, found.dtype) == ((48, 64, 3), np.uint8)
    assert np.abs(middles(found) - FIGURE).max() <= off


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "MPO", "TIFF"])
def test_of_several_pictures_the_first_is_taken(tmp_path, kind):
    data = saved(figure(), kind, save_all=True, append_images=[Image.new("RGB", (64, 48), "black")])
    with Image.open(io.BytesIO(data)) as whole:
        assert whole.n_frames == 2
    assert np.abs(middles(read(tmp_path, data)) - FIGURE).max() <= 20


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_orientations_stand_upright(tmp_path, orientation, kind):
    ways = Image.Transpose
    # How the camera stored what is upright: the inverse of what a viewer has to do.
    stored = {
        2: ways.FLIP_LEFT_RIGHT, 3: ways.ROTATE_180, 4: ways.FLIP_TOP_BOTTOM, 5: ways.TRANSPOSE,
        6: ways.ROTATE_90, 7: ways.TRANSVERSE, 8: ways.ROTATE_270,
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = figure().transpose(stored[orientation]) if orientation > 1 else figure()
    found = read(tmp_path, saved(turned, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {})))
    assert found.shape == (48, 64, 3)
    assert np.abs(middles(found) - FIGURE).max() <= 20


def test_sixteen_bits_of_colour_are_scaled(tmp_path):
    colours = np.array([[0, 0x8000, 0xFFFF], [0x1234, 0xABCD, 0x00FF]])
    np.testing.assert_array_equal(read(tmp_path, png(16, 2, colours))[0], colours >> 8)
    with_alpha = np.concatenate([colours, [[0xFFFF], [0]]], 1)
    np.testing.assert_array_equal(read(tmp_path, png(16, 6, with_alpha))[0], [colours[0] >> 8, [255] * 3])
    grey = np.array([[0x4000, 0xFFFF], [0x4000, 0]])
    np.testing.assert_array_equal(read(tmp_path, png(16, 4, grey))[0, :, 0], [0x40, 255])


def test_the_transparent_colour_alone_becomes_white(tmp_path):
    colours = np.array([[0x8000] * 3, [0] * 3, [0x4000] * 3])
    np.testing.assert_array_equal(read(tmp_path, png(16, 2, colours, (0x8000,) * 3))[0, :, 0], [255, 0, 0x40])
    np.testing.assert_array_equal(read(tmp_path, png(8, 2, colours >> 8, (0x80,) * 3))[0, :, 0], [255, 0, 0x40])
    grey = np.array([0x8000, 0, 0x4000])
    np.testing.assert_array_equal(read(tmp_path, png(16, 0, grey, (0x8000,)))[0, :, 0], [255, 0, 64])
    np.testing.assert_array_equal(read(tmp_path, png(8, 0, grey >> 8, (0x80,)))[0, :, 0], [255, 0, 64])


@pytest.mark.parametrize("transparency", [0, bytes([0, 255, 255, 255])])
def test_a_palette_with_transparency_is_laid_on_white(tmp_path, transparency):
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 200, 40, 40])
    picture.paste(0, (0, 0, 4, 8))
    found = read(tmp_path, saved(picture, "PNG", transparency=transparency))
    assert (found[:, :4] == 255).all()
    assert (found[:, 4:] == [200, 40, 40]).all()


@pytest.mark.parametrize("white", [4095, 65535])
def test_a_pgm_s_own_white_is_white(tmp_path, white):
    """Pillow gives its sixteen bits in 32, as it gives what has no known white."""
    pixels = np.array([0, white // 2, white], ">u2").tobytes()
    found = read(tmp_path, b"P5\n3 1\n%d\n" % white + pixels)
    np.testing.assert_array_equal(found[0, :, 0], [0, 127, 255])


def test_a_tiff_whose_zero_is_white_is_turned_round(tmp_path):
    stored = Image.fromarray(np.array([[0, 0x4000, 0xFFFF]], np.uint16))
    found = read(tmp_path, saved(stored, "TIFF", tiffinfo={262: 0}))
    np.testing.assert_array_equal(found[0, :, 0], [255, 191, 0])


def test_colours_of_another_space_are_brought_into_srgb(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # A space whose red is sRGB's green: what a viewer shows of (200, 40, 40) is (40, 200, 40).
    swapped = srgb.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    picture = Image.new("RGB", (8, 8), (200, 40, 40))
    assert (read(tmp_path, saved(picture, "PNG", icc_profile=srgb)) == [200, 40, 40]).all()
    assert np.abs(read(tmp_path, saved(picture, "PNG", icc_profile=swapped))[0, 0] - [40.0, 200, 40]).max() <= 1
    clear = Image.new("RGBA", (8, 8), (200, 40, 40, 0))
    assert (read(tmp_path, saved(clear, "PNG", icc_profile=swapped)) >= 254).all()
    assert (read(tmp_path, saved(picture, "PNG", icc_profile=b"no profile")) == [200, 40, 40]).all()
    grey = Image.new("L", (8, 8), 77)  # the profile of another number of channels
    assert (read(tmp_path, saved(grey, "PNG", icc_profile=swapped)) == 77).all()


def test_a_picture_of_many_pixels_is_read_without_a_word(tmp_path, recwarn, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # 3,072 are warned of, from 4,000 on they are refused
    assert read(tmp_path, saved(figure(), "PNG")).shape == (48, 64, 3)
    assert not recwarn.list


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path):
    bomb = bytearray(png(8, 2, np.zeros((1, 3))))
    bomb[16:24] = struct.pack(">II", 60000, 60000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    with pytest.raises(MediaError, match=r"not a picture that can be read \(Image size") as error:
        read(tmp_path, bytes(bomb))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "AVIF", "BMP", "JPEG2000"])
def test_broken_and_truncated_pictures_are_one_line(tmp_path, kind):
    """Sixty of each kind, broken at random: read, or refused in one line that names the file."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    whole, rng = saved(Image.fromarray(noise), kind), np.random.default_rng(1)
    refused = []
    for _ in range(60):
        data = bytearray(whole[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.3 else whole)
        for at in rng.integers(0, len(data), rng.integers(1, 12)):
            data[at] = rng.integers(256)
        try:
            assert read(tmp_path, bytes(data)).shape[2] == 3
        except MediaError as error:
            refused.append(str(error))
    assert len(refused) > 5
    assert all("\n" not in line and str(tmp_path / "picture") in line for line in refused)
