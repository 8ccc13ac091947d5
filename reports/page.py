"""One HTML page with its pictures and videos inside."""

import base64
import html
import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.charts import as_svg
from reports.style import SCRIPT, stylesheet

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than its value.

    Attributes:
        text: what is shown.
        sort: what the column is sorted by; None is the text.
        best: the best of its kind, which is marked.
    """

    text: str
    sort: float | None = None
    best: bool = False


class Page:
    """A page that grows from top to bottom; every method adds one thing below the last. Sections are listed at its top.

    Args:
        title: heading of the page.
        intro: a sentence under it.
    """

    def __init__(self, title: str, intro: str = ""):
        self.title, self.intro = title, intro
        self._parts: list[str] = []
        self._sections: list[str] = []

    def section(self, heading: str, text: str = "") -> None:
        """A heading that the list of contents has, and a sentence under it."""
        self._sections.append(heading)
        self._parts.append(f'<h2 id="part-{len(self._sections)}">{html.escape(heading)}</h2>')
        self.text(text)

    def heading(self, text: str) -> None:
        """A smaller heading within a section."""
        self._parts.append(f"<h3>{html.escape(text)}</h3>")

    def text(self, text: str, kind: str = "") -> None:
        """A paragraph; `kind` is "note", "better" or "worse"."""
        if text:
            self._parts.append(f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{html.escape(text)}</p>")

    def facts(self, values: Mapping[str, Any]) -> None:
        """Names and values, a row each."""
        rows = "".join(
            f'<tr><th scope="row">{html.escape(str(name))}</th>{_cell(value, plain=True)}</tr>'
            for name, value in values.items()
        )
        if rows:
            self._parts.append(f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>')

    def table(self, rows: Sequence[Mapping[str, Any]], caption: str = "", best: Mapping[str, str] = {}) -> None:
        """Rows with the columns of all of them, in order of first appearance; nothing when there are no rows.

        Args:
            rows: a mapping each; values are text, numbers or a `Cell`.
            caption: a sentence under the table.
            best: columns of numbers whose best value is marked, "higher" or "lower".
        """
        if not rows:
            return
        columns = list(dict.fromkeys(name for row in rows for name in row))
        marked = {name: _best([row.get(name) for row in rows], way) for name, way in best.items()}
        head = "".join(f'<th scope="col"><button>{_kept(str(name))}</button></th>' for name in columns)
        body = "".join(
            "<tr>"
            + "".join(
                _cell(row.get(name, ""), best=name in marked and row.get(name) == marked[name]) for name in columns
            )
            + "</tr>"
            for row in rows
        )
        self._parts.append(
            '<div class="scroll" tabindex="0"><table class="wide">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )
        self.text(caption, "note")

    @contextmanager
    def grid(self, wide: bool = False) -> Iterator[None]:
        """What is added inside stands side by side, as many as fit."""
        self._parts.append(f'<div class="grid{" wide" if wide else ""}">')
        yield
        self._parts.append("</div>")

    def figure(self, figure: "Figure", title: str = "", caption: str = "") -> None:
        """A figure of `reports.charts`, in the page's own colours; one of pyplot's is closed."""
        svg = as_svg(figure)
        label = f'<svg role="img" aria-label="{html.escape(title or caption)}"'
        self._media(svg.replace("<svg", label, 1), title, caption)
        if figure.canvas.manager is not None:  # made by pyplot, which keeps it
            from matplotlib import pyplot

            pyplot.close(figure)

    def image(self, image: "bytes | str | Path | np.ndarray", caption: str = "", title: str = "") -> None:
        """A PNG (bytes or file), or an (H, W, 3) uint8 RGB array."""
        if isinstance(image, (str, Path)):
            image = Path(image).read_bytes()
        elif not isinstance(image, bytes):
            from PIL import Image

            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, format="PNG", optimize=True)
            image = buffer.getvalue()
        source = _data("image/png", image)
        self._media(f'<img src="{source}" alt="{html.escape(title or caption)}">', title, caption)

    def video(self, video: bytes | str | Path, caption: str = "", title: str = "") -> None:
        """An mp4 (bytes or file), with its controls and its sound."""
        data = video if isinstance(video, bytes) else Path(video).read_bytes()
        first = _first_frame(data)  # shown before it is played, on phones and on paper
        poster = f' poster="{_data("image/jpeg", first)}"' if first else ""
        source = _data("video/mp4", data)
        element = f'<video controls playsinline preload="metadata"{poster} src="{source}"></video>'
        self._media(element, title, caption)

    def code(self, text: str, title: str = "") -> None:
        """Text as it is, in a fixed-width font; folded away under a title, if it has one."""
        block = f'<pre tabindex="0">{html.escape(text)}</pre>'
        if title:
            block = f'<details class="code"><summary>{html.escape(title)}</summary>{block}</details>'
        self._parts.append(block)

    def html(self) -> str:
        """The whole page."""
        intro = f"<p>{html.escape(self.intro)}</p>" if self.intro else ""
        listed = "".join(
            f'<li><a href="#part-{number}">{html.escape(heading)}</a></li>'
            for number, heading in enumerate(self._sections, 1)
        )
        contents = f"<nav><details open><summary>Contents</summary><ol>{listed}</ol></details></nav>" if listed else ""
        body = "\n".join(self._parts)
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(self.title)}</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<style>{stylesheet()}</style></head>\n"
            f"<body>\n<header><h1>{html.escape(self.title)}</h1>{intro}</header>\n{contents}\n<main>\n{body}\n</main>\n"
            f"<script>{SCRIPT}</script></body></html>\n"
        )

    def write(self, path: str | Path) -> Path:
        """Write the page whole or not at all."""
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(self.html(), encoding="utf-8")
        os.replace(temporary, path)
        return path

    def _media(self, element: str, title: str, caption: str) -> None:
        heading = f"<strong>{html.escape(title)}</strong>" if title else ""
        below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        self._parts.append(f"<figure>{heading}{element}{below}</figure>")


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _first_frame(video: bytes) -> bytes | None:
    """The first frame of a video as JPEG; None where there is none that can be read."""
    import av

    try:
        with av.open(io.BytesIO(video), "r") as container:
            frame = next(container.decode(video=0)).to_image()
    except (av.FFmpegError, IndexError, StopIteration):
        return None
    buffer = io.BytesIO()
    frame.save(buffer, format="JPEG", quality=70)
    return buffer.getvalue()


def _best(values: Sequence[Any], way: str) -> Any:
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)]
    if len(set(numbers)) < 2:
        return None
    return max(numbers) if way == "higher" else min(numbers)


def _cell(value: Any, best: bool = False, plain: bool = False) -> str:
    sort = ""
    if isinstance(value, Cell):
        best, number, shown = value.best, value.sort is not None, value.text
        sort = f' data-sort="{value.sort!r}"' if number else ""
    else:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        shown = str(value)
        if number:
            shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
            sort = f' data-sort="{value!r}"'
    kinds = [*(["number"] if number and not plain else []), *(["best"] if best else [])]
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<td{kind}{sort}>{_kept(shown)}</td>"


def _kept(text: str) -> str:
    """Escaped, with an arrow that stays on the line of its word."""
    return re.sub(r" ([↑↓])$", r"&nbsp;\1", html.escape(text))
