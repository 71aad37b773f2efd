"""What a notebook shows is escaped, whatever data, AWS or a stranger's store holds."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from tests.report.runs import HOSTILE, history, report
from tests.security.hostile import ENDINGS, POISONS, hostile_checkpoint
from vlm_runner.core.signals import RemoteStatusChanged, StagingProgress, Trouble
from vlm_runner.core.transitions import fold
from vlm_runner.lint.finding import Finding, LintReport, Severity
from vlm_runner.models import find
from vlm_runner.notebook.rows import RowPreview
from vlm_runner.notebook.views import Panel, lint_html, panel_html, report_html, row_html, run_html
from vlm_runner.redact import CONTROL
from vlm_runner.report.collect import Curve
from vlm_runner.report.money import money

TAG = re.compile(r"<\s*/?\s*(script|img src=x|svg onload|main)", re.IGNORECASE)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("poison", POISONS)
def test_a_hostile_run_stays_text(poison: str, ending: str) -> None:
    checkpoint = hostile_checkpoint("cats", ENDINGS[ending], POISONS[poison])
    run, now = checkpoint.run, checkpoint.history[-1].at + timedelta(minutes=5)
    panel = Panel(
        run=run,
        history=checkpoint.history,
        now=now,
        money=money(run, checkpoint.history, None, now),
        progress=RemoteStatusChanged(what="job", arn="a", status=POISONS[poison]),
        trouble=Trouble(doing="looking", message=POISONS[poison]),
    )

    shown = panel_html(panel) + run_html(run)

    assert TAG.search(shown) is None
    assert CONTROL.search(shown) is None


def test_hostile_findings_and_rows_stay_text() -> None:
    finding = Finding("I101", Severity.ERROR, HOSTILE, "why", HOSTILE, HOSTILE, 1, HOSTILE)
    row = RowPreview(
        {
            "subset": HOSTILE,
            "row": 0,
            "source_row": 0,
            "system": HOSTILE,
            "user": HOSTILE,
            "assistant": HOSTILE,
            "turns": [],
            "accepted": [],
            "tokens": {"user": 1, "limit": 9},
            "image_bytes": 1,
            "image_count": 1,
            "images": [],
            "findings": [finding.as_json()],
        },
        (b"no image",),
    )

    shown = lint_html(LintReport(HOSTILE, HOSTILE, [finding])) + row_html(row)

    assert TAG.search(shown) is None
    assert "cannot be read" in shown


def test_a_report_is_framed_without_scripts_and_cannot_leave_its_frame() -> None:
    shown = report_html(report(3, text=HOSTILE))

    assert shown.startswith("<iframe sandbox title=")
    assert shown.count("<") == 2
    assert "allow-" not in shown.partition("srcdoc")[0]


def test_the_panel_says_what_is_done_how_far_it_is_and_what_it_costs() -> None:
    entries = history(until=8)
    run, now = fold(entries), entries[-1].at + timedelta(minutes=30)
    curve = Curve(((0.0, 2.0), (10.0, 1.0)))

    shown = panel_html(
        Panel(
            run=run,
            history=entries,
            now=now,
            money=money(run, entries, find(run.spec.model.base), now),
            curves=(curve, Curve()),
            usual=3600.0,
        )
    )

    assert "▸ warming" in shown
    assert "✓ training" in shown
    assert "about 30 min left" in shown
    assert "$23.00 an hour; the run deletes it." in shown
    assert "training from 2.000 to 1.000" in shown


def test_dollars_are_no_mathematics() -> None:
    """Front ends with MathJax would set what stands between two dollar signs as a formula."""
    entries = history()
    run, now = fold(entries), entries[-1].at
    panel = Panel(run=run, history=entries, now=now, money=money(run, entries, None, now))

    for shown in (panel_html(panel), run_html(run), lint_html(LintReport("here", "a model", []))):
        found = re.search(r'<div class="([^"]+)"', shown)
        assert found is not None
        assert {"mathjax_ignore", "tex2jax_ignore"} <= {*found[1].split()}


def test_staging_shows_its_bar() -> None:
    entries = history(until=1)
    run, now = fold(entries), entries[-1].at
    progress = StagingProgress(
        subset="train",
        rows_done=40,
        rows=160,
        bytes_uploaded=1,
        passed_through=40,
        converted=0,
        skipped=2,
        in_flight=3,
        seconds=10,
        seconds_left=75,
    )

    shown = panel_html(Panel(run, entries, now, money(run, entries, None, now), progress))

    assert 'aria-valuenow="25"' in shown
    assert "train: 40 of 160 rows, 2 skipped · about 1 min 15 s left" in shown
