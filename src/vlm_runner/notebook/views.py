"""The library's values as HTML for a notebook; pure. All that users and AWS wrote is escaped by Jinja."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.core.signals import (
    DownloadProgress,
    HeldElsewhere,
    RemoteStatusChanged,
    StagingProgress,
    TestAnswered,
)
from vlm_runner.core.timeline import phase_spans, phase_states, spelled
from vlm_runner.describe import sentence
from vlm_runner.dollars import about, bound, dollars, spent
from vlm_runner.evaluate.thumbnail import budget, thumbnail
from vlm_runner.plan import plan_json, plan_text
from vlm_runner.redact import printable, redacted
from vlm_runner.report.charts import chart
from vlm_runner.report.render import html_environment, page
from vlm_runner.report.summary import summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jinja2 import Environment

    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run
    from vlm_runner.core.signals import Signal, Trouble
    from vlm_runner.json_output import MoneyJson
    from vlm_runner.lint import LintReport
    from vlm_runner.notebook.rows import RowPreview
    from vlm_runner.plan import Plan
    from vlm_runner.report.assemble import RunReport
    from vlm_runner.report.collect import Curve

LAST_EVENTS: Final = 4
MOST_FINDINGS: Final = 50
LONGEST_TEXT: Final = 20_000
"""Characters of a row's text; a notebook is a file that grows with what it shows."""
REPORT_HEIGHT: Final = 640
"""CSS pixels of the frame that shows a report."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What a live panel shows of a run."""

    run: Run
    history: Sequence[Entry]
    now: datetime
    money: MoneyJson
    progress: Signal | None = None
    trouble: Trouble | None = None
    curves: tuple[Curve, Curve] | None = None
    usual: float | None = None
    """Seconds that the present phase took in past runs, as a rule."""
    stopped: str | None = None
    """Why this process no longer drives the run, though it is not done."""


@dataclass(frozen=True, slots=True)
class _Doing:
    """What goes on in the present phase."""

    text: str = ""
    done: int = 0
    total: int = 0
    seconds_left: float | None = None


def panel_html(panel: Panel) -> str:
    """The state of a run: phases, progress, time left, loss, money, and what bills."""
    run = panel.run
    doing = _doing(panel.progress)
    spans = phase_spans(((entry.event.kind, entry.at) for entry in panel.history), run.route)
    phases = [
        {
            "name": one.phase.value,
            "state": one.state,
            "took": "" if one.seconds is None else spelled(one.seconds),
        }
        for one in phase_states(spans, panel.now, run.route, over=run.done)
    ]
    left = doing.seconds_left
    if left is None and panel.usual is not None and spans:
        left = panel.usual - spans[-1].seconds(panel.now)
    drawn = None
    if panel.curves is not None:
        training, validation = panel.curves
        named = (("training", training.points), ("validation", validation.points))
        drawn = chart(named, training.epochs)
    return _html(
        "panel",
        run=run,
        facts=summary(run),
        phases=phases,
        doing=doing,
        share=min(100.0, 100.0 * doing.done / doing.total) if doing.total else None,
        left=f"about {spelled(left)} left" if left is not None and left > 0 else "",
        money=panel.money,
        spent=spent(
            panel.money["known_usd"], complete=panel.money["complete"], estimated=panel.money["about"]
        ),
        trouble=panel.trouble,
        stopped=panel.stopped,
        chart=drawn,
        took=spelled((panel.now - run.created_at).total_seconds()),
        events=[
            {"time": f"{entry.at:%H:%M:%S}", "text": sentence(entry.event)}
            for entry in panel.history[-LAST_EVENTS:]
        ],
    )


def _doing(signal: Signal | None) -> _Doing:
    match signal:
        case StagingProgress():
            skipped = f", {signal.skipped:,} skipped" if signal.skipped else ""
            text = f"{signal.subset}: {signal.rows_done:,} of {signal.rows:,} rows{skipped}"
            return _Doing(text, signal.rows_done, signal.rows, signal.seconds_left)
        case DownloadProgress(done=False):
            return _Doing(f"reading the dataset: {signal.bytes / 1e6:.1f} MB downloaded")
        case TestAnswered(done=done, asked=asked):
            return _Doing(f"{done:,} of {asked:,} answers", done, asked)
        case RemoteStatusChanged(what=what, status=status, details=details):
            parts = "".join(f", {name} {state}" for name, state in details.items())
            return _Doing(f"{what} {status}{parts}")
        case HeldElsewhere(host=host, pid=pid):
            return _Doing(f"held by process {pid} on {host}; waiting for it")
        case _:
            return _Doing()


def run_html(run: Run) -> str:
    """A run in a table: what it is, how far it got, and what it made."""
    return _html("run", run=run, facts=summary(run))


def lint_html(report: LintReport) -> str:
    """Findings in a table, the worst first."""
    facts = report.as_json()
    rank = ("error", "warning", "note")
    found = sorted(facts["findings"], key=lambda one: rank.index(one["severity"]))
    return _html("lint", report=facts, findings=found[:MOST_FINDINGS], more=len(found[MOST_FINDINGS:]))


def plan_html(plan: Plan) -> str:
    """What a run would cost and do; the whole text of `vlm-runner plan` below."""
    facts = plan_json(plan)
    return _html("plan", plan=facts, cost=facts["cost"], text=plan_text(plan, settings=False))


def row_html(row: RowPreview) -> str:
    """The row's images beside its texts."""
    most = budget(len(row.images))
    small = [thumbnail(image, most) for image in row.images]
    shown = row.shown
    turns: list[tuple[str, str]] = [(turn["role"], turn["text"]) for turn in shown["turns"]]
    if not turns:
        turns = [(name, shown[name] or "") for name in ("user", "assistant")]
    if shown.get("system"):
        turns.insert(0, ("system", shown["system"] or ""))
    return _html(
        "row",
        row=shown,
        images=[None if each is None else base64.b64encode(each).decode() for each in small],
        turns=[(role, _cut(text)) for role, text in turns],
        tokens=sum(count for name, count in shown["tokens"].items() if name != "limit"),
    )


def _cut(text: str) -> str:
    left = len(text) - LONGEST_TEXT
    return text if left <= 0 else f"{text[:LONGEST_TEXT]}\n… ({left:,} more characters)"


def report_html(report: RunReport) -> str:
    """
    The report's page in a frame that may run no script, and of which nothing reaches the notebook.

    The page is a part of the notebook then, also when it is saved.
    """
    name = escape(printable(report.run.run_id), quote=True)
    return (
        f'<iframe sandbox title="Report of {name}" srcdoc="{escape(page([report]), quote=True)}" '
        f'style="width:100%;height:{REPORT_HEIGHT}px;border:1px solid #8888;border-radius:8px"></iframe>'
    )


def _html(template: str, **facts: Any) -> str:
    return printable(_environment().get_template(f"{template}.html.j2").render(**facts))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = html_environment("vlm_runner.notebook")
    made.finalize = lambda value: redacted(value) if type(value) is str else value
    made.filters["usd"] = dollars
    made.filters["bound"] = bound
    made.filters["about"] = lambda text, estimated: about(text, estimated=estimated)
    made.globals["style"] = (files("vlm_runner.notebook") / "templates" / "style.css").read_text("utf-8")
    return made
