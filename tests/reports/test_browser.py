"""Pages in a browser: what is read off the screen in Chromium, light and dark, on a desk and on a phone."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from reports import Cell, Page
from reports.charts import bars, histogram, lines

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom",
    "--virtual-time-budget=2000",
)  # fmt: skip
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")

# Runs inside of the page: contrast of every text with the ground it stands on, what sticks out, what a click sorts.
LOOK = """
const colour = text => { const c = text.match(/[\\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c; };
const light = c => { const f = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  return .2126 * f(c[0]) + .7152 * f(c[1]) + .0722 * f(c[2]); };
const ground = e => { for (; e; e = e.parentElement) { const c = colour(getComputedStyle(e).backgroundColor);
  if (c[3] > .9) return c; } return [255, 255, 255]; };
const seen = [...document.querySelectorAll('body *')].filter(e => !e.closest('script, style, defs'));
const texts = seen.filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()));
const contrast = texts.map(e => { const svg = e.closest('svg'), s = getComputedStyle(e);
  const both = [light(colour(svg ? s.fill : s.color)), light(ground(svg ? svg.parentElement : e))];
  const [a, b] = both.sort((x, y) => y - x);
  return [(a + .05) / (b + .05), e.textContent.trim().slice(0, 30)]; });
const wide = document.documentElement.clientWidth;
const out = seen.filter(e => !e.closest('.scroll *, pre *') && e.getBoundingClientRect().right > wide + 1);
const table = document.querySelector('table.wide'), column = 1, button = table.tHead.rows[0].cells[column].firstChild;
const order = () => [...table.tBodies[0].rows].map(row => row.cells[column].textContent);
const sorted = [order()]; button.click(); sorted.push(order()); button.click(); sorted.push(order());
const inner = table.parentElement;
const found = { wide, whole: document.documentElement.scrollWidth,
  contrast: contrast.sort((a, b) => a[0] - b[0])[0], texts: texts.length,
  out: out.map(e => e.tagName),
  scrolls: inner.scrollWidth > inner.clientWidth, ground: getComputedStyle(document.body).backgroundColor, sorted,
  links: [...document.querySelectorAll('nav a')].every(a => document.querySelector(a.getAttribute('href'))) };
parent.postMessage(JSON.stringify(found), '*');
"""


def page() -> str:
    output = Page("mmgt.smga · runs/first", "/a/long/path/" + "x" * 80)
    output.section("Figures")
    many = {f"a figure with a name {i}": 1.5 * i for i in range(40)}
    rows = [{"run": name, "FGD ↓": Cell(f"{v}±1", v, name == "b"), **many} for name, v in (("a", 10.0), ("b", 9.5))]
    output.table([*rows, {"run": "c", "FGD ↓": Cell("100", 100.0)}, {"run": "none"}], "A legend.")
    output.text("better", "better")
    output.text("worse", "worse")
    output.facts({"Shards": "y" * 120})
    with output.grid():
        output.figure(lines({f"line {i}": [(0, i), (1, i + 1.0)] for i in range(9)}, "step (batches)", "loss"), "Loss")
        output.figure(histogram({"kept": [0.2, 0.3], "dropped": [0.9]}, "share", between=(0, 1)), "Hands")
        output.figure(bars({"no speech": 3.0}, "clips"), "Dropped")
        output.image(np.zeros((64, 640, 3), np.uint8), "a caption")
    output.section("Config")
    output.code("key: " + "z" * 300, "Config")
    return output.html()


@pytest.fixture(scope="module", params=["light", "dark"])
def looked_at(request, tmp_path_factory) -> tuple[str, dict[int, dict]]:
    """What was found in a theme, by the width of the window: the page stands in frames of those widths."""
    folder = tmp_path_factory.mktemp("browser")
    inside = html.escape(page().replace("</body>", f"<script>{{{LOOK}}}</script></body>"))
    frames = "".join(f'<iframe width="{width}" height="900" srcdoc="{inside}"></iframe>' for width in (1280, 390))
    told = "addEventListener('message', e => document.body.append(`FOUND${e.data}DONE`))"
    outer = folder / "outer.html"
    outer.write_text(f"<!doctype html><meta charset=utf-8><body><script>{told}</script>{frames}</body>")
    dark = ["--blink-settings=preferredColorScheme=0"] if request.param == "dark" else []
    words = [str(CHROMIUM), *FLAGS, *dark, f"--user-data-dir={folder / 'user'}", outer.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    found = [json.loads(html.unescape(text)) for text in re.findall(r'FOUND(\{".*?)DONE', done.stdout, re.DOTALL)]
    assert len(found) == 2, done.stderr[-2000:]
    return request.param, {390 if each["wide"] < 500 else 1280: each for each in found}


def test_every_text_can_be_read(looked_at):
    theme, found = looked_at
    for each in found.values():
        bright = sum(map(int, re.findall(r"\d+", each["ground"])[:3])) > 380
        assert bright == (theme == "light")
        assert each["texts"] > 100
        assert each["contrast"][0] >= 4.5, each["contrast"]


def test_nothing_sticks_out_and_wide_tables_scroll_inside(looked_at):
    for each in looked_at[1].values():
        assert each["out"] == []
        assert each["whole"] <= each["wide"]
        assert each["scrolls"]
        assert each["links"]


def test_a_click_sorts_by_number_and_another_turns_it_round(looked_at):
    for each in looked_at[1].values():
        before, up, down = each["sorted"]
        assert before == ["10.0±1", "9.5±1", "100", ""]
        assert up == ["9.5±1", "10.0±1", "100", ""]
        assert down == ["100", "10.0±1", "9.5±1", ""], "what is missing stays below"
