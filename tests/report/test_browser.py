"""The page in a real browser; skipped where there is no Chromium, but never in CI."""

from __future__ import annotations

import os
import shutil
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.report.render import page

from .runs import HOSTILE, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    # CI installs one (.ci/run): there, a missing browser is a failure and not a skipped proof.
    pytest.mark.skipif(CHROMIUM is None and os.environ.get("CI") != "true", reason="no Chromium here"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    assert CHROMIUM is not None, "CI must have a Chromium"
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@cache
def _html() -> str:
    return page([report(3, text=HOSTILE)])


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page; at the end it must have said nothing on the console and asked nobody for anything."""
    said: list[str] = []
    asked: list[str] = []
    contexts: list[Any] = []

    def open_page(html: str | None = None, width: int = 1280, scheme: str = "light", **named: Any) -> Any:
        path = tmp_path / "report.html"
        path.write_text(html or _html())
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **named)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(path.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_hostile_rows_stay_text(opened: Callable[..., Any]) -> None:
    tab = opened()

    assert tab.title() == "pages-1 · vlm-runner report"
    assert tab.locator("script, [onerror], [onload]").count() == 0
    assert "document.title='owned'" in tab.locator("article").first.inner_text()


def test_gallery_shows_pictures_and_answers_beside_each_other(opened: Callable[..., Any]) -> None:
    tab = opened()
    pictures = tab.locator("article img")
    answers = tab.locator("article").first.locator(".one")

    assert pictures.count() == 3
    assert all(pictures.nth(number).evaluate("image => image.naturalWidth") > 0 for number in range(3))
    assert answers.count() == 2
    assert answers.nth(0).bounding_box()["y"] == answers.nth(1).bounding_box()["y"]
    assert tab.locator("article ins, article del").count() > 0


def test_on_paper_nothing_is_cut(opened: Callable[..., Any]) -> None:
    long = page([report(3, text="a line of an answer\n" * 80)])
    tab = opened(long, width=718)  # A4 less the margins, at 96 dots an inch
    tab.emulate_media(media="print")
    cut = tab.locator("pre, .scroll, .chart").evaluate_all(
        """all => all.filter(one => one.clientHeight && (one.scrollHeight > one.clientHeight + 1
            || one.scrollWidth > one.clientWidth + 1)).map(one => one.innerText.slice(0, 60))"""
    )

    assert cut == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= 718
    # A picture that waits until it is scrolled to is missing on paper.
    assert tab.locator("img[loading=lazy]").count() == 0


def test_chart_tells_its_lines_apart_without_colour(opened: Callable[..., Any]) -> None:
    tab = opened()
    dashes = tab.locator("svg.chart .line").evaluate_all(
        "lines => lines.map(line => getComputedStyle(line).strokeDasharray)"
    )
    shapes = tab.locator("svg.chart .series").evaluate_all(
        "groups => groups.map(group => group.querySelector('circle,rect').tagName)"
    )

    assert len(set(dashes)) == 2
    assert set(shapes) == {"circle", "rect"}


def test_follows_the_colour_scheme(opened: Callable[..., Any]) -> None:
    backgrounds = {
        scheme: opened(scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }

    assert backgrounds["light"] != backgrounds["dark"]


def test_can_be_read_on_a_telephone(opened: Callable[..., Any]) -> None:
    tab = opened(width=400)

    assert tab.evaluate("document.documentElement.scrollWidth") <= 400


def test_can_be_used_from_the_keyboard(opened: Callable[..., Any]) -> None:
    tab = opened()
    tab.keyboard.press("Tab")
    first = tab.evaluate("document.activeElement.textContent")
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    tab.keyboard.press("Enter")

    assert first == "Skip to the report"
    assert tab.evaluate("document.activeElement.parentElement.open")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_nothing(opened: Callable[..., Any], width: int, scheme: str) -> None:
    """The page's own policy forbids scripts, so that this test must go past it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    compared = page([report(3), report(2, run_id="pages-2", held_out=False, until=11)])

    for html in (_html(), compared):
        tab = opened(html, width, scheme, bypass_csp=True)
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        found = axe.run(tab).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_rows_that_became_worse_are_shown_alone_without_a_script(opened: Callable[..., Any]) -> None:
    tab = opened(page([report(9, knows=frozenset({0, 3, 4}))]))
    rows = tab.locator("article.row")

    # The tuned model says another finding than the reference in every third row.
    shown = {}
    for label in ("worse 2", "unchanged 1", "better 6", "all 9"):
        tab.get_by_label(label).check()
        shown[label] = [rows.nth(number).is_visible() for number in range(9)]

    assert [row for row, visible in enumerate(shown["worse 2"]) if visible] == [0, 3]
    assert [sum(visible) for visible in shown.values()] == [2, 1, 6, 9]
