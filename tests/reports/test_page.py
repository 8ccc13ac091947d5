"""Pages stand alone: nothing in them points outside."""

import re
from pathlib import Path

import matplotlib
import numpy as np

from reports import Page

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
    assert text.count("data:image/") == 2
    assert "data:video/mp4" in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
