"""Colours and layout of the pages, light and dark; every text has a contrast of 4.5 : 1 or more."""

from collections.abc import Mapping
from typing import Final

LIGHT: Final[Mapping[str, str]] = {
    "paper": "#ffffff", "panel": "#f5f6f8", "ink": "#1b1f24", "soft": "#535b66", "line": "#d3d8de",
    "link": "#0b57b0", "best": "#0a6b35", "best-paper": "#e2f4e8", "worse": "#a3202c",
    "series-1": "#1f62a8", "series-2": "#b3391f", "series-3": "#1b7a4b", "series-4": "#8a3fa0",
    "series-5": "#8a5a00", "series-6": "#0b7285", "series-7": "#a61e5b", "series-8": "#4f5b66",
}  # fmt: skip
DARK: Final[Mapping[str, str]] = {
    "paper": "#14171b", "panel": "#1e2328", "ink": "#e8ebee", "soft": "#a9b2bc", "line": "#3a424a",
    "link": "#7db7ff", "best": "#6fdc9a", "best-paper": "#15301f", "worse": "#ff9a9a",
    "series-1": "#6fb1f5", "series-2": "#ff8f6b", "series-3": "#5fd08f", "series-4": "#d79bf0",
    "series-5": "#e5b455", "series-6": "#55cfe0", "series-7": "#ff86b8", "series-8": "#b4bec8",
}  # fmt: skip
SERIES: Final = tuple(f"series-{number}" for number in range(1, 9))
TEXTS: Final = (
    ("ink", "paper"), ("ink", "panel"), ("soft", "paper"), ("soft", "panel"), ("link", "paper"), ("link", "panel"),
    ("best", "best-paper"), ("ink", "best-paper"), ("worse", "paper"), ("worse", "panel"),
    *((name, "panel") for name in SERIES),
)  # fmt: skip
"""Which colours stand on which."""


def contrast(one: str, other: str) -> float:
    """Contrast of two colours (#rrggbb), 1 to 21 (WCAG 2)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def stylesheet() -> str:
    """All of the page's CSS."""
    return f":root {{ color-scheme: light dark; {_variables(LIGHT)} }}\n" + (
        f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}\n" + _RULES
    )


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


_RULES: Final = """
*, *::before, *::after { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink);
  background: var(--paper); max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: anywhere; }
a { color: var(--link); }
header p { color: var(--soft); margin: .2rem 0 0; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 0; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { max-width: 70ch; margin: .5rem 0; }
nav { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem 1rem;
  margin: 1.2rem 0; }
nav summary { cursor: pointer; font-weight: 600; }
nav ol { margin: .4rem 0; padding-left: 1.4rem; columns: 16rem; }
nav li { break-inside: avoid; padding: .1rem 0; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 1rem; }
.grid.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 32rem), 1fr)); }
figure { margin: 0; padding: .8rem; background: var(--panel); border: 1px solid var(--line); border-radius: .5rem;
  min-width: 0; }
figure > strong { display: block; font-size: 1rem; margin-bottom: .4rem; }
figure svg, figure img, figure video { display: block; width: 100%; height: auto; border-radius: .25rem; }
figure video { max-height: 75vh; background: #000; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; }
svg text { font-family: inherit; }
.scroll { overflow-x: auto; max-width: 100%; margin: .7rem 0; overflow-wrap: normal; background:
  linear-gradient(to left, var(--paper) 1rem, transparent) right / 2rem 100% no-repeat local,
  linear-gradient(to left, var(--line), transparent) right / 1rem 100% no-repeat scroll; }
table { border-collapse: collapse; font-size: .95rem; }
th, td { padding: .35rem .75rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--soft); vertical-align: bottom; }
tbody th { font-weight: 600; }
td { max-width: 36rem; overflow-wrap: break-word; }
table.wide th, table.wide td { padding: .35rem .5rem; }
table.wide tr > :first-child { position: sticky; left: 0; background: var(--paper);
  min-width: min(12rem, 30vw); }
tbody th + td { overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; overflow-wrap: normal; }
td.best { background: var(--best-paper); color: var(--best); font-weight: 700; }
td.best::after { content: " \\2605"; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button::after { content: "\\a0\\2195"; color: var(--soft); font-weight: 400; }
th[aria-sort=ascending] button::after { content: "\\a0\\2191"; color: var(--ink); }
th[aria-sort=descending] button::after { content: "\\a0\\2193"; color: var(--ink); }
th button:focus-visible, summary:focus-visible, a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.note { color: var(--soft); font-size: .95rem; }
.worse { color: var(--worse); font-weight: 600; } .better { color: var(--best); font-weight: 600; }
details.code summary { cursor: pointer; color: var(--link); }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem; overflow: auto;
  font-size: .85rem; max-height: 34rem; overflow-wrap: normal; }
@media (max-width: 480px) { body { font-size: 15px; padding-top: .8rem; } h1 { font-size: 1.4rem; }
  th, td { padding: .3rem .5rem; } table.wide tr > :first-child { max-width: 9rem; } nav ol { columns: 1; } }
@media print { nav, th button::after { display: none; } }
"""

SCRIPT: Final = """
for (const button of document.querySelectorAll('th button')) button.addEventListener('click', () => {
  const head = button.closest('th'), body = head.closest('table').tBodies[0], column = head.cellIndex;
  const up = head.getAttribute('aria-sort') !== 'ascending';
  for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
  const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    if (a === '' || b === '') return (a === '') - (b === '');  // what is missing stays below
    const x = Number(a), y = Number(b);
    const order = isNaN(x) || isNaN(y) ? a.localeCompare(b, undefined, {numeric: true}) : x - y;
    return up ? order : -order;
  };
  body.append(...[...body.rows].sort((one, other) => compare(key(one), key(other))));
});
"""
"""Tables sort by a click on a heading."""
