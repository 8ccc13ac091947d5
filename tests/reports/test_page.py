"""Pages stand alone: nothing in them points outside."""

import base64
import io
import re
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from reports import Cell, Page

matplotlib.use("Agg")


def test_a_page_holds_everything_itself(tmp_path: Path) -> None:
    from matplotlib import pyplot

    page = Page("A <title>", "An introduction.")
    page.section("Section")
    page.facts({"frames": 12345, "share": 0.123456})
    page.table([{"a": 1, "b": "x<y"}, {"c": 2.5}])
    figure, axes = pyplot.subplots()
    axes.plot([1, 2, 3])
    page.figure(figure, "a curve")
    page.image(np.zeros((8, 8, 3), np.uint8), "a picture")
    page.video(b"bytes", "a video")
    page.code("key: <value>")
    text = page.write(tmp_path / "page.html").read_text()
    assert "A &lt;title&gt;" in text
    assert "x&lt;y" in text
    assert "12,345" in text
    assert text.count("data:image/") == 1
    assert text.count("<svg") == 1
    assert "data:video/mp4" in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_sections_are_listed_and_columns_are_sorted_by_a_click() -> None:
    page = Page("t")
    page.section("First")
    page.section("Second & last")
    page.table([{"run": "a", "FGD": 2.5}, {"run": "b", "FGD": 1.5}, {"run": "c"}], best={"FGD": "lower"})
    text = page.html()
    for number, heading in ((1, "First"), (2, "Second &amp; last")):
        assert f'<a href="#part-{number}">{heading}</a>' in text
        assert f'<h2 id="part-{number}">{heading}</h2>' in text
    assert text.count('<th scope="col"><button>') == 2
    assert 'class="number best" data-sort="1.5"' in text
    assert text.count("number best") == 1


def test_numbers_are_written_as_people_read_them() -> None:
    page = Page("t")
    page.table([{"FGD ↓": 0.012346, "frames": 20170.4, "clips": 12345}])
    text = page.html()
    for cell in (">0.01235<", ">20,170<", ">12,345<", "FGD&nbsp;↓"):
        assert cell in text


def test_a_video_shows_its_first_frame_before_it_is_played(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "red.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        red = av.VideoFrame.from_ndarray(np.full((64, 64, 3), (200, 20, 20), np.uint8), format="rgb24")
        for packet in [*stream.encode(red), *stream.encode()]:
            container.mux(packet)
    page = Page("t")
    page.video(tmp_path / "red.mp4")
    poster = re.search(r'poster="data:image/jpeg;base64,([^"]+)"', page.html())
    assert poster
    with Image.open(io.BytesIO(base64.b64decode(poster[1]))) as image:
        assert image.size == (64, 64)
        assert image.getpixel((32, 32))[0] > 150  # type: ignore[index]


def test_a_cell_shows_one_thing_and_is_sorted_by_another() -> None:
    page = Page("t")
    page.table([{"x": Cell("1.20±0.1", 1.2034, best=True)}])
    assert '<td class="number best" data-sort="1.2034">1.20±0.1</td>' in page.html()
