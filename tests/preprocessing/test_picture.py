"""Pictures as a player shows them: mirrored, untagged HD, interlaced, HDR, of changing size."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from preprocessing.videos.decode import SourceVideo
from preprocessing.videos.tonemap import hlg_decode, pq_decode, pq_encode, tone_map
from tests.preprocessing.clips import write_clip


def read(path, **options):
    with SourceVideo(path, **options) as video:
        return [slot.rgb for slot in video.slots()], video


def write_frames(path, frames, codec="ffv1", pix_fmt="yuv420p", **tags):
    """Planar frames as they are, losslessly."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, width=frames[0].width, height=frames[0].height, pix_fmt=pix_fmt)
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def corner(i):
    image = np.full((48, 96, 3), 60, np.uint8)
    image[:24, :48] = 230
    image[:12, 48:] = 140  # no symmetry maps this picture onto itself
    return image


MATRICES = {
    # (a, b, c, d): a stored point (p, q) is shown at (a p + c q, b p + d q).
    (1, 0, 0, 1): lambda x: x,
    (-1, 0, 0, 1): lambda x: x[:, ::-1],
    (1, 0, 0, -1): lambda x: x[::-1],
    (-1, 0, 0, -1): lambda x: x[::-1, ::-1],
    (0, 1, -1, 0): lambda x: np.rot90(x, -1),
    (0, -1, 1, 0): lambda x: np.rot90(x, 1),
    (0, 1, 1, 0): lambda x: x.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda x: np.rot90(x, 2).transpose(1, 0, 2),
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_display_matrix_turns_and_mirrors(tmp_path, matrix):
    import struct

    path = write_clip(tmp_path / "a.mp4", seconds=0.2, height=48, width=96, picture=corner)
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 44
    a, b, c, d = matrix
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    pictures, video = read(path)
    wanted = MATRICES[matrix](corner(0))
    assert pictures[0].shape == wanted.shape == (video.height, video.width, 3)
    assert np.abs(pictures[0].astype(int) - wanted).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_with_every_exif_orientation_stand_upright(tmp_path, orientation):
    from PIL import Image

    from datamodules.media.picture import read_image

    # What has to be stored so that the picture is shown right (EXIF 2.3, tag 274).
    stored = {
        1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2), 6: lambda x: np.rot90(x, 1),
        7: lambda x: np.rot90(x, 2).transpose(1, 0, 2), 8: lambda x: np.rot90(x, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(stored(corner(0)))).save(tmp_path / "a.png", exif=exif)
    assert (read_image(tmp_path / "a.png") == corner(0)).all()


@pytest.mark.parametrize(("size", "matrix"), [((1280, 720), "ITU709"), ((640, 480), "ITU601"), ((720, 576), "ITU601")])
def test_untagged_pictures_have_the_colours_of_their_size(tmp_path, size, matrix):
    red = np.full((size[1], size[0], 3), (200, 40, 60), np.uint8)
    frame = av.VideoFrame.from_ndarray(red, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace[matrix]
    )
    frame.colorspace = 2
    path = write_frames(tmp_path / "a.mkv", [frame, frame])
    pictures, _ = read(path, size=64)
    assert np.abs(pictures[0].astype(int) - (200, 40, 60)).max() <= 4


def test_what_is_written_here_is_read_with_its_own_colours(tmp_path):
    from datamodules.media.files import read_frames, write_video

    red = np.full((720, 1280, 3), (200, 40, 60), np.uint8)
    path = write_video(tmp_path / "a.mp4", [red, red], 25)
    # One colour, of which an encoder keeps all but a step or two; a step of 8-bit chroma is 2 of 255.
    assert np.abs(read(path, size=64)[0][0].astype(int) - (200, 40, 60)).max() <= 4
    assert np.abs(next(read_frames(path)).astype(int) - (200, 40, 60)).max() <= 4


def test_interlaced_pictures_lose_their_combs(tmp_path):
    def woven(i):
        """A bar that moves between the two fields."""
        luma = np.full((64, 96), 60, np.uint8)
        for field in (0, 1):
            left = 8 + 8 * i + 4 * field
            luma[field::2, left : left + 16] = 220
        planes = np.concatenate([luma, np.full((32, 96), 128, np.uint8)])
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")

    path = tmp_path / "a.mpg"
    with av.open(str(path), "w", format="mpeg") as container:
        stream = container.add_stream("mpeg2video", rate=25, width=96, height=64, pix_fmt="yuv420p")
        stream.options = {"flags": "+ildct+ilme", "qscale": "1", "top": "1"}
        stream.codec_context.bit_rate = 8_000_000
        for number in range(8):
            frame = woven(number)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        stored = list(container.decode(video=0))
    if not stored[2].interlaced_frame:
        pytest.skip("this encoder does not flag its pictures")
    pictures, video = read(path)
    assert video.facts["deinterlaced"] is True
    assert len(pictures) == 8

    def comb(rgb):
        rows = rgb.astype(float).mean(-1)
        return np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean()

    assert comb(pictures[4]) < 0.35 * comb(stored[4].to_ndarray(format="rgb24"))


def test_progressive_pictures_pass_untouched(tmp_path):
    _, video = read(write_clip(tmp_path / "a.mp4", seconds=0.4))
    assert video.facts == {}
    assert video.warnings == []


def test_the_curves_are_those_of_bt2100():
    assert pq_decode(np.array([0.0, 0.58068888, 1.0])) == pytest.approx([0, 203, 10000], rel=1e-3)
    assert pq_decode(pq_encode(np.array([0.1, 100.0, 1000.0]))) == pytest.approx([0.1, 100, 1000], rel=1e-6)
    assert hlg_decode(np.array([0.0, 0.5, 1.0])) == pytest.approx([0, 1 / 12, 1], abs=1e-6)


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_hdr_white_is_bright_and_middle_tones_keep_their_place(transfer):
    """Paper white stands at 58 % of PQ and at 75 % of HLG (BT.2408); neutral stays neutral and order is kept."""
    signal = {"pq": 0.58069, "hlg": 0.75}[transfer]
    ramp = np.repeat((np.linspace(0, 1, 33) * 65535).astype(np.uint16)[None, :, None], 3, -1)
    mapped = tone_map(ramp, transfer)[0].astype(int)
    assert np.ptp(mapped, axis=-1).max() <= 1
    assert (np.diff(mapped[:, 1]) >= 0).all()
    assert mapped[0].max() == 0
    assert mapped[-1].min() == 255
    white = tone_map(np.full((1, 1, 3), round(signal * 65535), np.uint16), transfer)
    assert 222 <= white.min() <= white.max() <= 235


@pytest.mark.parametrize(("name", "trc"), [("pq", 16), ("hlg", 18)])
def test_hdr_videos_are_tone_mapped_and_say_so(tmp_path, name, trc):
    code = round(64 + 876 * {"pq": 0.58069, "hlg": 0.75}[name])
    planes = np.concatenate([np.full((64, 96), code, np.uint16), np.full((32, 96), 512, np.uint16)])
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p10le")
    frame.color_trc, frame.colorspace, frame.color_primaries, frame.color_range = trc, 9, 9, 1
    path = write_frames(
        tmp_path / "a.mkv", [frame] * 2, pix_fmt="yuv420p10le", color_trc=trc, colorspace=9, color_primaries=9
    )
    pictures, video = read(path)
    assert video.facts == {"tone_mapped": name}
    assert "HDR" in video.warnings[0]
    assert 222 <= pictures[0].min() <= pictures[0].max() <= 235


def test_a_change_of_shape_is_not_stretched(tmp_path):
    """Two MPEG streams one behind the other, as a call is recorded whose sender turns the phone."""
    parts = []
    for number, (width, height) in enumerate([(96, 64), (64, 96)]):
        path = tmp_path / f"{number}.ts"

        def picture(i, height=height, width=width):
            image = np.full((height, width, 3), 60, np.uint8)
            image[height // 2 - 16 : height // 2 + 16, width // 2 - 16 : width // 2 + 16] = 230
            return image

        times = [Fraction(i + 25 * number, 25) for i in range(25)]
        parts.append(write_clip(path, times, height=height, width=width, picture=picture).read_bytes())
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    pictures, video = read(tmp_path / "a.ts")
    assert video.facts["size_changes"] == 1
    assert "changes its size" in " ".join(video.warnings)
    assert {picture.shape for picture in pictures} == {(64, 96, 3)}
    bright = pictures[-3].mean(-1) > 150
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    assert abs(len(rows) - len(columns)) <= 3
    assert pictures[-3][:, :20].max() < 30
