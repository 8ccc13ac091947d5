"""Figures that follow the page's colours: SVG whose colours are the page's own, light or dark."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.style import LIGHT, SERIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]


def lines(series: Mapping[str, Points], x: str, y: str, log: bool | None = None) -> "Figure":
    """Lines over a common axis.

    Args:
        series: points (x, y) by the name that the legend gives them.
        x, y: labels of the axes, with units.
        log: logarithmic y; left out, where values are positive and span more than a factor of 30.
    """
    figure, axes = _figure()
    values = []
    for number, (name, points) in enumerate(series.items()):
        if points:
            few = len(points) < 30
            axes.plot(
                *zip(*points, strict=True), label=name, color=LIGHT[SERIES[number % len(SERIES)]], linewidth=1.6,
                marker="." if few else None, linestyle=("-", "--", ":")[number // len(SERIES) % 3],
            )  # fmt: skip
            values += [value for _, value in points]
    if log is None:
        log = bool(values) and min(values) > 0 and max(values) > 30 * min(values)
    if log:
        axes.set_yscale("log")
    if values and not any(values):
        axes.set_ylim(0, 1)
    _label(axes, x, y)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=LIGHT["ink"])
    return figure


def histogram(
    groups: Mapping[str, Sequence[float]],
    x: str,
    y: str = "clips",
    bins: int = 20,
    between: tuple[float, float] | None = None,
) -> "Figure":
    """Stacked histograms of some groups; `between` is the whole range of a figure that has one."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure()
    colours = [LIGHT[name] for name in SERIES[: len(groups)]]
    axes.hist(list(groups.values()), bins=bins, range=between, stacked=True, color=colours, label=list(groups))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _label(axes, x, y)
    if len([group for group in groups.values() if len(group)]) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=LIGHT["ink"])
    return figure


def bars(values: Mapping[str, float], x: str) -> "Figure":
    """A horizontal bar for each name."""
    figure, axes = _figure(height=0.8 + 0.35 * len(values))
    output = axes.barh(list(values), list(values.values()), color=LIGHT[SERIES[0]])
    axes.bar_label(output, padding=3, color=LIGHT["ink"], fontsize=9)
    axes.invert_yaxis()
    _label(axes, x, "")
    return figure


def as_svg(figure: "Figure") -> str:
    """A figure as SVG to stand in a page: colours of the light theme become the page's own variables."""
    import matplotlib

    buffer = io.StringIO()
    # A fixed salt and no date: the same figure gives the same page. Text stays text.
    with matplotlib.rc_context({"svg.hashsalt": "cospeech", "svg.fonttype": "none"}):
        figure.savefig(
            buffer, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    for name, colour in LIGHT.items():
        text = re.sub(rf"{colour}\b", f"var(--{name})", text, flags=re.IGNORECASE)
    # A legend's box and the plain black of matplotlib's own parts.
    return text.replace("#000000", "var(--ink)").replace("font: 10px 'DejaVu Sans'", "font: 10px inherit").strip()


def thinned(points: Points, most: int = 1000) -> Points:
    """At most about so many of the points that are numbers, evenly taken, the last among them."""
    whole = [point for point in points if math.isfinite(point[1])]
    step = max(1, math.ceil(len(whole) / most))
    return [*whole[::step], *(whole[-1:] if whole and (len(whole) - 1) % step else [])]


def _figure(width: float = 5.2, height: float = 3.1) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.add_subplot()


def _label(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, color=LIGHT["ink"])
    axes.set_ylabel(y, color=LIGHT["ink"])
    axes.tick_params(which="both", colors=LIGHT["soft"], labelcolor=LIGHT["ink"], labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LIGHT["soft"])
    axes.grid(color=LIGHT["line"], linewidth=0.7)
    axes.set_axisbelow(True)
