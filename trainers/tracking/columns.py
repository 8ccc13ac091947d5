"""What the columns of metrics.csv are called when people read them, with their units."""

import re
from typing import Final, NamedTuple


class Column(NamedTuple):
    """Names of a column.

    Attributes:
        figure: what it is; columns of one figure share a plot.
        line: which line of that plot.
        unit: of the axis.
    """

    figure: str
    line: str
    unit: str


_KNOWN: Final = {
    "lr": ("Learning rate", "learning rate"),
    "grad_norm": ("Gradient norm", "norm"),
    "samples_per_second": ("Speed", "samples a second"),
    "seconds_per_step": ("Time of a step", "seconds"),
    "data_wait_share": ("Waiting for data", "share of the time"),
    "memory_gb": ("Peak memory", "GiB"),
    "mfu": ("Model FLOPs utilisation", "share of the peak"),
    "bad_samples": ("Skipped samples", "samples"),
    "mpjpe": ("Error of joints", "mm"),
    "perplexity": ("Codes in use (perplexity)", "codes"),
    "code_use": ("Codes in use", "share of the codebook"),
    "codes_reset": ("Codes reset", "codes"),
    "auc": ("Area under the ROC curve", "share of the square"),
}
_PARTS: Final = {"train": "training", "val": "validation", "speed": "", "data": ""}
_WORDS: Final = {"lr": "learning rate", "xz": "ground"} | {
    word: word.upper() for word in ("kl", "psnr", "ssim", "vgg", "fgd", "mse", "rmse")
}
_ORDER: Final = ("Loss", "Learning rate", "Gradient norm")


def name_of(column: str) -> Column:
    """Names of a column such as `train/lr_1`."""
    part, _, name = column.rpartition("/")
    numbered = re.fullmatch(r"(lr|grad_norm)_(\d+)", name)
    stem = numbered[1] if numbered else name
    figure, unit = _KNOWN.get(stem, ("", ""))
    if not figure:
        words = " ".join(_WORDS.get(word, word) for word in stem.split("_"))
        figure, unit = words[:1].upper() + words[1:], "loss" if "loss" in stem else "value"
    line = _PARTS.get(part, part)
    if numbered:
        line = f"optimiser {int(numbered[2]) + 1}"
    elif stem in ("lr", "grad_norm"):
        line = "optimiser 1"
    return Column(figure, line or figure.lower(), unit)


def readable(column: str) -> str:
    """One name for a column: "Loss, validation"."""
    figure, line, _ = name_of(column)
    return figure if line in (figure.lower(), "optimiser 1") else f"{figure}, {line}"


def by_figure(columns: list[str]) -> dict[str, list[str]]:
    """Columns by the figure that they share, the loss first, speed last."""
    figures: dict[str, list[str]] = {}
    for column in columns:
        figures.setdefault(name_of(column).figure, []).append(column)

    def place(figure: str) -> tuple[int, int]:
        speed = figures[figure][0].startswith(("speed/", "data/"))
        return _ORDER.index(figure) if figure in _ORDER else len(_ORDER) + speed, list(figures).index(figure)

    return {figure: figures[figure] for figure in sorted(figures, key=place)}
