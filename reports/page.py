"""One HTML page with its pictures and videos inside."""

import base64
import html
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8888; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; margin: .6rem 0; display: block; overflow-x: auto; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { display: inline-block; margin: .5rem 1rem .5rem 0; vertical-align: top; max-width: 100%; }
figure img, figure video { max-width: 100%; background: #fff; } figcaption { color: var(--soft); font-size: .85rem; }
pre { background: #8881; padding: .8rem; overflow-x: auto; font-size: .8rem; max-height: 32rem; }
"""


class Page:
    """A page that grows from top to bottom; every method adds one thing below the last.

    Args:
        title: heading of the page.
        intro: a sentence under it.
    """

    def __init__(self, title: str, intro: str = ""):
        self.title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>"]
        self.text(intro)

    def section(self, heading: str, text: str = "") -> None:
        """A heading, and a sentence under it."""
        self._parts.append(f"<h2>{html.escape(heading)}</h2>")
        self.text(text)

    def text(self, text: str) -> None:
        """A paragraph."""
        if text:
            self._parts.append(f"<p>{html.escape(text)}</p>")

    def facts(self, values: Mapping[str, Any]) -> None:
        """Names and values, a row each."""
        rows = "".join(f"<tr><th>{html.escape(str(k))}</th>{_cell(v)}</tr>" for k, v in values.items())
        self._parts.append(f"<table>{rows}</table>")

    def table(self, rows: Sequence[Mapping[str, Any]], caption: str = "") -> None:
        """Rows with the columns of all of them, in order of first appearance; nothing when there are no rows."""
        if not rows:
            return
        columns = list(dict.fromkeys(name for row in rows for name in row))
        head = "".join(f"<th>{html.escape(str(name))}</th>" for name in columns)
        body = "".join("<tr>" + "".join(_cell(row.get(name, "")) for name in columns) + "</tr>" for row in rows)
        self._parts.append(f"<table><tr>{head}</tr>{body}</table>")
        self.text(caption)

    def figure(self, figure: "Figure", caption: str = "") -> None:
        """A matplotlib figure, as SVG; the figure is closed."""
        from matplotlib import pyplot

        buffer = io.BytesIO()
        # A fixed salt and no date: the same figure gives the same page.
        with pyplot.rc_context({"svg.hashsalt": "cospeech"}):
            figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
        pyplot.close(figure)
        self._media("img", "image/svg+xml", buffer.getvalue(), caption)

    def image(self, image: "bytes | str | Path | np.ndarray", caption: str = "") -> None:
        """A PNG (bytes or file), or an (H, W, 3) uint8 RGB array."""
        if isinstance(image, (str, Path)):
            image = Path(image).read_bytes()
        elif not isinstance(image, bytes):
            from PIL import Image

            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, format="PNG", optimize=True)
            image = buffer.getvalue()
        self._media("img", "image/png", image, caption)

    def video(self, video: bytes | str | Path, caption: str = "") -> None:
        """An mp4 (bytes or file), with its controls."""
        data = video if isinstance(video, bytes) else Path(video).read_bytes()
        self._media("video", "video/mp4", data, caption)

    def code(self, text: str) -> None:
        """Text as it is, in a fixed-width font."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def html(self) -> str:
        """The whole page."""
        body = "\n".join(self._parts)
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(self.title)}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
            f"<body>\n{body}\n</body></html>\n"
        )

    def write(self, path: str | Path) -> Path:
        """Write the page whole or not at all."""
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(self.html(), encoding="utf-8")
        os.replace(temporary, path)
        return path

    def _media(self, tag: str, kind: str, data: bytes, caption: str) -> None:
        source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        element = f'<img src="{source}" alt="{html.escape(caption)}">'
        if tag == "video":
            element = f'<video controls preload="metadata" src="{source}"></video>'
        self._parts.append(f"<figure>{element}<figcaption>{html.escape(caption)}</figcaption></figure>")


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"<td>{html.escape(str(value))}</td>"
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return f'<td class="number">{shown}</td>'
