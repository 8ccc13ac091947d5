"""Colours can be read: contrast of every text, light and dark."""

import re

import pytest

from reports.charts import lines
from reports.page import Page
from reports.style import DARK, LIGHT, SERIES, TEXTS, contrast, stylesheet


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXTS)
def test_texts_and_lines_can_be_read(theme, text, ground):
    assert contrast(theme[text], theme[ground]) >= 4.5


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_every_colour_of_the_page_is_one_that_was_looked_at():
    rules = stylesheet()
    rules = rules[rules.index("*, *") :]
    assert set(re.findall(r"var\(--([a-z0-9-]+)\)", rules)) <= set(LIGHT)
    assert set(re.findall(r"(?<!&)#[0-9a-f]{3,8}\b", rules)) <= {"#000"}, "behind videos"
    assert LIGHT.keys() == DARK.keys()


def test_plots_take_the_colours_of_the_page():
    page = Page("p")
    page.figure(lines({"one": [(1, 2.0), (2, 3.0)], "other": [(1, 1.0)]}, "step (batches)", "loss"), "Loss")
    text = page.html()
    svg = text[text.index("<svg") : text.index("</svg>")]
    assert not set(re.findall(r"#[0-9a-fA-F]{6}\b", svg)), "a colour that does not follow the theme"
    for name in ("ink", *SERIES[:2]):
        assert f"var(--{name})" in svg
    for label in ("step (batches)", "loss", "other"):
        assert label in svg
    assert "<strong>Loss</strong>" in text
