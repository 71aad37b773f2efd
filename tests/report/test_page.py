"""The page: what it tells, and that nothing a dataset holds becomes part of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from vlm_runner.evaluate.thumbnail import budget, thumbnail
from vlm_runner.report.render import page

from .runs import HOSTILE, history, picture, report


class _Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_all_that_a_dataset_holds_stays_text() -> None:
    html = page([report(text=HOSTILE, dataset={"source": HOSTILE}, run_id="pages-1")])
    seen = _Elements(html)

    assert HOSTILE in seen.text
    assert not [tag for tag, _ in seen.tags if tag == "script"]
    assert not [name for _, attributes in seen.tags for name in attributes if name.startswith("on")]
    assert {str(attributes.get("src"))[:16] for tag, attributes in seen.tags if tag == "img"} == {
        "data:image/webp;"
    }


def test_the_page_asks_the_network_for_nothing() -> None:
    html = page([report()])
    links = [
        value
        for _, attributes in _Elements(html).tags
        for name, value in attributes.items()
        if name in {"src", "href", "action", "srcset", "xlink:href"}
    ]

    assert "default-src 'none'" in html
    assert all(value and value.startswith(("#", "data:")) for value in links)
    assert "url(" not in html
    assert "@import" not in html


def test_a_thousand_rows_stay_under_twenty_megabytes() -> None:
    html = page([report(1000, text="<b>" * 600)])

    assert len(html.encode()) < 20_000_000


def test_training_rows_are_called_so() -> None:
    assert "These are training rows" in page([report(held_out=False)])
    assert "These are training rows" not in page([report(held_out=True)])


def test_what_may_still_bill_stands_on_top_with_its_command() -> None:
    html = page([report(until=9)])

    assert "Something may still bill" in html
    assert "delete-provisioned-model-throughput" in html
    assert "vlm-runner resume pages-1" in html


def test_money_is_told_as_far_as_it_is_known() -> None:
    facts = report().facts["money"]

    hours = 3
    assert [line["usd"] for line in facts["lines"]] == [None, 23.0 * hours, None]
    assert not facts["complete"]


def test_a_rented_endpoint_costs_until_now() -> None:
    assert report(until=9).facts["money"]["per_hour_usd"] == 23.0


@pytest.mark.parametrize("until", range(1, len(history()) + 1))
def test_a_run_has_a_page_at_any_point(until: int) -> None:
    html = page([report(0 if until < 10 else 3, until=until)])

    assert "<h1>pages-1</h1>" in html


def test_several_runs_stand_beside_each_other() -> None:
    other = report(
        run_id="pages-2",
        training={
            "role_arn": "arn:aws:iam::123456789012:role/bedrock-sft",
            "hyperparameters": {"epochCount": 5},
        },
    )
    seen = _Elements(page([report(), other]))

    assert "training.hyperparameters" in seen.text
    assert "pages-2: tuned" in seen.text
    assert sum(tag == "article" for tag, _ in seen.tags) == 3


def test_a_comparison_comes_before_what_there_is_of_each_run() -> None:
    """Under one heading, with a line for each run, and what may bill in any of them."""
    html = page([report(), report(run_id="pages-2"), report(run_id="pages-3", until=9)])
    headings = re.findall(r"<h[12][^>]*>(.*?)</h[12]>", html)

    assert headings[:2] == ["3 runs", "The runs side by side"]
    assert headings.index("Loss by step") < headings.index("pages-1")
    assert html.count("<h1>") == 1
    top = html[: html.index("The runs side by side")]
    for number in (1, 2, 3):
        assert f'<a href="#run-{number}">pages-{number}</a>' in top
        assert html.count(f'id="run-{number}"') == 1
    assert "Something may still bill" in top


def test_rows_that_were_left_out_are_listed_with_their_reasons() -> None:
    assert "it is broken" in page([report()])


def test_ids_are_used_once() -> None:
    seen = _Elements(page([report(), report(run_id="pages-2")]))
    ids = [attributes["id"] for _, attributes in seen.tags if "id" in attributes]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("body", [b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_image_has_no_thumbnail(body: bytes) -> None:
    assert thumbnail(body, 10_000) is None


@pytest.mark.parametrize("rows", [1, 100, 1000])
def test_thumbnails_keep_to_their_budget(rows: int) -> None:
    small = thumbnail(picture(3), budget(rows))

    assert small is not None
    assert len(small) <= budget(rows)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"rows": 20}, "Better than the base model"),
        ({"rows": 20, "knows": frozenset(range(20))}, "Worse than the base model"),
        ({"rows": 9, "knows": frozenset({1, 2, 3, 4, 6})}, "No clear difference from the base model"),
        ({"rows": 3}, "Too few rows to tell"),
        ({"rows": 20, "base": False}, "Not compared with the base model"),
    ],
)
def test_the_page_leads_with_whether_the_model_is_better(made: dict[str, Any], said: str) -> None:
    shown = _Elements(page([report(pictures=False, **made)])).text

    assert said in shown
    assert shown.index(said) < shown.index("Money so far")
    assert "vlm-runner serve pages-1" in shown
