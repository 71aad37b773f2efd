"""From reports to one HTML page that needs nothing else; pure. All that users wrote is escaped by Jinja."""

from __future__ import annotations

import base64
import hashlib
import shlex
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal

from jinja2 import Environment, StrictUndefined

from vlm_runner.describe import sentence
from vlm_runner.dollars import UNKNOWN, about, bound, cell, dollars
from vlm_runner.evaluate import AskedTurn, closest
from vlm_runner.evaluate.metrics import differences
from vlm_runner.evaluate.verdict import FEWEST_ROWS
from vlm_runner.redact import printable, redacted, redacted_value
from vlm_runner.report.charts import Chart, chart
from vlm_runner.report.money import spell

Effort = Literal[
    "answered",
    "failed",
    "cut_off",
    "characters",
    "seconds_median",
    "seconds_longest",
    "input_tokens",
    "output_tokens",
]
"""The numbers of `ModelScoresJson` that say what the calls took."""

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vlm_runner.evaluate import AnsweredRow, ModelAnswer
    from vlm_runner.json_output import ModelScoresJson
    from vlm_runner.report.assemble import RunReport
    from vlm_runner.report.collect import JudgedFile

ALL_TEXT: Final = 4_000_000
"""Characters of prompts, references and answers that a page shows; `answers.jsonl` has them whole."""
LARGEST_PAGE: Final = 19_000_000
"""Bytes. Escaping makes text up to six times longer, so what came out is looked at."""
LONGEST_TEXT: Final = 40_000
WORTH_MARKING: Final = 0.35
"""Similarity below which marks on every word would only be noise."""

NAMES: Final[Mapping[str, str]] = {
    "findings.f1": "Findings: F1",
    "findings.precision": "Findings: precision",
    "findings.recall": "Findings: recall",
    "sections": "All sections there",
    "similarity": "Answer: similarity",
    "exact": "Answer: equal",
    "thought.similarity": "Reasoning: similarity",
    "solution.similarity": "Solution: similarity",
    "eval_items.exact": "Items: equal",
    "eval_items.similarity": "Items: similarity",
    "eval_reason.exact": "Reason: equal",
    "eval_reason.similarity": "Reason: similarity",
    "plan.exact": "Plan: equal",
    "plan.similarity": "Plan: similarity",
    "json": "Answer is a JSON object",
}
EXPLAINED: Final[Mapping[str, str]] = {
    "findings.f1": "precision and recall in one number",
    "findings.precision": "of the findings it reported, the share that the reference has too",
    "findings.recall": "of the reference's findings, the share that it reported",
    "sections": "share of answers with complete <thought> and <solution>",
    "similarity": "characters shared with the reference, 0 to 1 (rapidfuzz ratio)",
    "exact": "share of answers equal to the reference, but for case and spaces",
}
NONE: Final = "\N{EN DASH}"
VERDICTS: Final[Mapping[str, str]] = {
    "better": "Better than the base model",
    "worse": "Worse than the base model",
    "within_noise": "No clear difference from the base model",
    "too_few_rows": "Too few rows to tell",
    "not_compared": "Not compared with the base model",
}
CHANGED: Final = 0.0005
"""A change of a score that its shown digits show."""
WHO: Final = {"tuned": "Tuned model", "base": "Base model"}


@dataclass(frozen=True, slots=True)
class AnswerView:
    label: str
    kind: str
    pieces: tuple[tuple[str, str], ...]
    note: str
    chips: tuple[tuple[str, str], ...]
    effort: str


@dataclass(frozen=True, slots=True)
class RowView:
    number: int
    anchor: str
    images: tuple[str, ...]
    webps: tuple[str, ...]
    system: str | None
    prompt: str
    reference: str
    answers: tuple[AnswerView, ...]
    score: float | None
    change: float | None
    turns: tuple[AskedTurn, ...] = ()
    """All that was asked, where it is more than `prompt`."""
    accepted: tuple[str, ...] = ()

    @property
    def turn(self) -> str:
        """`better`, `worse` or `same`, against the base model; empty where it was not asked."""
        if self.change is None:
            return ""
        return "same" if abs(self.change) < CHANGED else "better" if self.change > 0 else "worse"


@dataclass(frozen=True, slots=True)
class Column:
    """One model of one run, as a column of the table of metrics."""

    label: str
    table: ModelScoresJson


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    share: float | None
    change: str = ""
    better: bool | None = None


@dataclass(frozen=True, slots=True)
class MetricRow:
    name: str
    explained: str
    cells: tuple[Cell, ...]


def page(reports: Sequence[RunReport], *, live: bool = False) -> str:
    """
    The page for one run, or for several side by side.

    With `live` it loads `live.js` from where it was served, and replaces its `<main>` as the run goes on.
    """
    return _fitting("page.html.j2", reports, live=live)


def main_part(reports: Sequence[RunReport]) -> str:
    """What stands in `<main>`, for the live page."""
    return _fitting("main.html.j2", reports, live=True)


def _fitting(template: str, reports: Sequence[RunReport], *, live: bool) -> str:
    html, all_text = "", ALL_TEXT
    while not html or (len(html.encode(errors="replace")) > LARGEST_PAGE and all_text > 1000):
        rendered = _environment().get_template(template).render(view(reports, all_text), live=live)
        # An answer's control characters would turn the text beside it, or steer the terminal of `-o -`.
        html = printable(rendered.replace("\r\n", "\n"))
        all_text //= 2
    return html


def view(reports: Sequence[RunReport], all_text: int = ALL_TEXT) -> dict[str, Any]:
    """What the templates are given."""
    style = _text("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    first = reports[0]
    columns = _columns(reports)
    rows = _rows(reports, all_text)
    return {
        "style": style,
        "style_hash": digest,
        "title": " · ".join(report.run.run_id for report in reports),
        "reports": [_run_view(one) | {"number": number} for number, one in enumerate(reports, 1)],
        "many": len(reports) > 1,
        "columns": columns,
        "metrics": _metrics(columns),
        "effort": _effort(columns),
        "loss": _loss(reports),
        "rows": rows,
        "best": _extremes(rows),
        "turns": _turns(rows),
        "held_out": all(report.run.tests is None or report.run.tests.held_out for report in reports),
        "differing": _differing(reports),
        "version": first.run.created.version,
        "missing": [(report.run.run_id, text) for report in reports for text in report.facts["missing"]],
    }


def _run_view(report: RunReport) -> dict[str, Any]:
    run, facts = report.run, report.facts
    money = facts["money"]
    longest = max((phase["seconds"] for phase in facts["phases"]), default=0.0)
    whole = sum(phase["seconds"] for phase in facts["phases"])
    began = 0.0
    phases = []
    for phase in facts["phases"]:
        seconds = phase["seconds"]
        share = 1000 / whole if whole else 0.0
        phases.append(
            {
                **phase,
                "took": spell(timedelta(seconds=seconds)),
                "x": round(began * share, 1),
                "width": max(4.0, round(seconds * share, 1)),
                "longest": seconds == longest,
            }
        )
        began += seconds
    state = run.outcome.value if run.outcome is not None else "running"
    return {
        "id": run.run_id,
        "run": run,
        "facts": facts,
        "remote": report.remote,
        "trains_on": report.trains_on,
        "state": state,
        "state_text": {"succeeded": "Succeeded", "failed": "Failed", "cancelled": "Cancelled"}.get(
            state, f"In phase {run.phase.value}"
        ),
        "phases": phases,
        "took": spell(timedelta(seconds=whole)),
        "money_so_far": cell(money["known_usd"], complete=money["complete"], estimated=money["about"]),
        "events": [
            {
                "sequence": entry.sequence,
                "at": entry.at.isoformat(),
                "time": f"{entry.at:%H:%M:%S}",
                "day": f"{entry.at:%Y-%m-%d}",
                "text": redacted(sentence(entry.event)),
            }
            for entry in report.history
        ],
        "spec": _spec_lines(redacted_value(report.facts["spec"])),
        "verdict": _verdict(report),
        "commands": {name: shlex.join(["vlm-runner", name, run.run_id]) for name in ("serve", "delete")},
        "subsets": [
            (name, subset)
            for name, subset in (
                ("train", run.images.train if run.images else None),
                ("validation", run.images.validation if run.images else None),
            )
            if subset is not None
        ],
        "judged": [_judged(file) for file in report.material.output.judged],
    }


def _judged(file: JudgedFile) -> str:
    """`Bedrock accepted 198 of 200 records of train.jsonl, and rejected 2.`"""
    text = f"Bedrock accepted {file.accepted:,} of {file.records:,} records of {file.name}"
    if file.partly_accepted:
        text += f", {file.partly_accepted:,} more in part"
    return text + (f", and rejected {file.rejected:,}." if file.rejected else ".")


def _verdict(report: RunReport) -> dict[str, Any] | None:
    """The one number that says most, whether it is better than the base model's, and how sure that is."""
    found = report.facts["evaluation"]["verdict"]
    if found is None:
        return None
    metric = found["metric"]
    return {
        **found,
        "head": VERDICTS[found["kind"]],
        "name": NAMES[metric],
        "explained": EXPLAINED[metric],
        "fewest": FEWEST_ROWS,
    }


def _spec_lines(table: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    sections = []
    for name, section in table.items():
        pairs = section.items() if isinstance(section, dict) else [("", section)]
        shown = [(key, _plain(value)) for key, value in pairs if value is not None and value not in ({}, [])]
        if shown:
            sections.append((name, shown))
    return sections


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {inner}" for key, inner in value.items() if inner is not None) or NONE
    if isinstance(value, list | tuple):
        return ", ".join(str(inner) for inner in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _columns(reports: Sequence[RunReport]) -> list[Column]:
    many = len(reports) > 1
    columns = []
    for who in ("base", "tuned"):
        for report in reports:
            table = report.evaluation.models.get(who)
            if table is not None:
                label = f"{report.run.run_id}: {who}" if many else WHO[who]
                columns.append(Column(label, table))
    return columns


def _metrics(columns: Sequence[Column]) -> list[MetricRow]:
    names = dict.fromkeys(name for column in columns for name in column.table["scores"])
    ordered = [name for name in NAMES if name in names] + [name for name in names if name not in NAMES]
    rows = []
    for name in ordered:
        first = next((c.table["scores"][name] for c in columns if name in c.table["scores"]), None)
        cells = []
        for number, column in enumerate(columns):
            value = column.table["scores"].get(name)
            cells.append(_cell(value, first if number else None))
        rows.append(MetricRow(NAMES.get(name, name), EXPLAINED.get(name, ""), tuple(cells)))
    return rows


def _cell(value: float | None, before: float | None) -> Cell:
    if value is None:
        return Cell(NONE, None)
    share = max(0.0, min(1.0, value)) * 100 if 0 <= value <= 1 else None
    if before is None:
        return Cell(f"{value:.3f}", share)
    change = value - before
    if abs(change) < CHANGED:
        return Cell(f"{value:.3f}", share, "= 0", None)
    sign = "▲ +" if change > 0 else "▼ \N{MINUS SIGN}"
    return Cell(f"{value:.3f}", share, f"{sign}{abs(change):.3f}", change > 0)


def _effort(columns: Sequence[Column]) -> list[tuple[str, list[str]]]:
    def text(value: float | None, form: str, unit: str) -> str:
        return NONE if value is None else f"{value:{form}}{unit}"

    lines: tuple[tuple[str, Effort, str, str], ...] = (
        ("Rows answered", "answered", ",", ""),
        ("Rows refused", "failed", ",", ""),
        ("Cut off at max_tokens", "cut_off", ",", ""),
        ("Characters, mean", "characters", ",.0f", ""),
        ("Seconds, median", "seconds_median", ".2f", " s"),
        ("Seconds, longest", "seconds_longest", ".2f", " s"),
        ("Tokens in", "input_tokens", ",", ""),
        ("Tokens out", "output_tokens", ",", ""),
    )
    rows = [
        (name, [text(column.table[key], form, unit) for column in columns]) for name, key, form, unit in lines
    ]
    costs = [column.table["cost_usd"] for column in columns]
    return [*rows, ("Cost of the calls", ["not by the token" if c is None else f"${c:.4f}" for c in costs])]


def _loss(reports: Sequence[RunReport]) -> dict[str, Any] | None:
    many = len(reports) > 1
    series = []
    for report in reports:
        prefix = f"{report.run.run_id} " if many else ""
        series.append((f"{prefix}training", report.material.output.training.points))
        series.append((f"{prefix}validation", report.material.output.validation.points))
    drawn: Chart | None = chart(series, () if many else reports[0].material.output.training.epochs)
    return None if drawn is None else {"chart": drawn, "points": sum(len(points) for _, points in series)}


def _rows(reports: Sequence[RunReport], all_text: int) -> list[RowView]:
    """The same question to several runs is one row, whatever its number in each."""
    many = len(reports) > 1
    groups: dict[tuple[str, str], list[tuple[RunReport, AnsweredRow]]] = {}
    for report in reports:
        for row in report.material.rows:
            # In a single run two rows may be equal to the letter, and still are two.
            whole = "".join(turn.text for turn in row.turns) or row.prompt
            key = (whole, row.reference) if many else (str(row.row), "")
            groups.setdefault(key, []).append((report, row))
    most = min(LONGEST_TEXT, all_text // max(1, len(groups) * (3 + len(reports))))
    tables = {
        (report.run.run_id, table["row"]): table for report in reports for table in report.evaluation.rows
    }
    found = []
    for place, members in enumerate(groups.values()):
        report, row = members[0]
        answers: list[AnswerView] = []
        scores: dict[str, float | None] = {}
        for who in ("tuned", "base"):
            for owner, asked in members:
                reply: ModelAnswer | None = getattr(asked, who)
                if reply is None or (who == "base" and any(view.kind == "base" for view in answers)):
                    continue
                own = tables.get((owner.run.run_id, asked.row), {}).get(who, {})
                scores.setdefault(who, own.get("similarity"))
                label = f"{owner.run.run_id}" if many and who == "tuned" else WHO[who]
                answers.append(_answer(label, who, closest(row, reply.answer), reply, own, most))
        tuned, base = scores.get("tuned"), scores.get("base")
        found.append(
            RowView(
                number=row.row,
                anchor=f"row-{place}",
                images=tuple(filter(None, (row.image, *row.more_images))),
                webps=next(
                    (o.material.thumbnails[a.row] for o, a in members if a.row in o.material.thumbnails), ()
                ),
                system=None if row.system is None else cut(row.system, most),
                prompt=cut(row.prompt, most),
                turns=tuple(
                    AskedTurn(role=turn.role, text=cut(turn.text, most // len(row.turns)))
                    for turn in row.turns
                ),
                reference=cut(row.reference, most),
                accepted=tuple(cut(text, most // len(row.accepted)) for text in row.accepted),
                answers=tuple(answers),
                score=tuned,
                change=None if tuned is None or base is None else tuned - base,
            )
        )
    return found


def _answer(  # noqa: PLR0917 - an answer has so many sides
    label: str, who: str, reference: str, reply: ModelAnswer, own: dict[str, float], most: int
) -> AnswerView:
    if reply.error is not None:
        return AnswerView(label, who, (), f"No answer: {redacted(reply.error)}", (), "")
    likeness = own.get("similarity", 0.0)
    text, wanted = cut(reply.answer, most), cut(reference, most)
    note = ""
    pieces: tuple[tuple[str, str], ...]
    if text == wanted:
        pieces, note = (("same", text),), "Equal to the reference."
    elif likeness >= WORTH_MARKING:
        pieces = tuple(differences(wanted, text))
    else:
        pieces, note = (("same", text),), "Different throughout, so that nothing is marked."
    chips = [("similarity", f"{likeness:.2f}")]
    if "sections" in own:
        chips.append(("sections", "complete" if own["sections"] else "incomplete"))
    if own.get("findings.expected") or own.get("findings.said"):
        hits = f"{own['findings.hits']:.0f} of {own['findings.expected']:.0f}"
        extra = own["findings.said"] - own["findings.hits"]
        chips.append(("findings", hits + (f", {extra:.0f} not in the reference" if extra else "")))
    if reply.stop_reason in {"max_tokens", "length"}:
        chips.append(("cut off", "at max_tokens"))
    seconds = "" if reply.seconds is None else f" · {reply.seconds:.1f} s"
    effort = f"{reply.input_tokens:,} tokens in · {reply.output_tokens:,} out{seconds}"
    return AnswerView(label, who, pieces, note, tuple(chips), effort)


def cut(text: str, most: int) -> str:
    """The beginning of `text`, saying how much is left out."""
    if len(text) <= most:
        return text
    return f"{text[:most]}\n… ({len(text) - most:,} more characters in answers.jsonl)"


def _extremes(rows: Sequence[RowView]) -> dict[str, list[RowView]]:
    """Where to look first, once there are too many rows to look at all."""
    scored = sorted((row for row in rows if row.score is not None), key=lambda row: row.score or 0.0)
    if len(scored) < 6:
        return {}
    changed = sorted((row for row in rows if row.turn), key=lambda row: row.change or 0.0)
    found = {
        "Worse than the base model": [row for row in changed if row.turn == "worse"][:5],
        "Better than the base model": [row for row in reversed(changed) if row.turn == "better"][:5],
        "Least like the reference": scored[:5],
        "Most like the reference": scored[::-1][:5],
    }
    return {name: shown for name, shown in found.items() if shown}


def _turns(rows: Sequence[RowView]) -> list[tuple[str, int]]:
    """How many rows became worse, stayed and became better; empty where there is nothing to choose from."""
    counts = [(turn, sum(row.turn == turn for row in rows)) for turn in ("worse", "same", "better")]
    return [each for each in counts if each[1]] if sum(1 for _, count in counts if count) > 1 else []


def _differing(reports: Sequence[RunReport]) -> list[tuple[str, list[str]]]:
    """The lines of the specs in which several runs differ."""
    if len(reports) < 2:
        return []
    flat = []
    for report in reports:
        table = redacted_value(report.facts["spec"])
        flat.append({f"{s}.{k}": v for s, lines in _spec_lines(table) for k, v in lines})
    names = dict.fromkeys(name for one in flat for name in one)
    return [
        (name, [one.get(name, NONE) for one in flat])
        for name in names
        if len({one.get(name) for one in flat}) > 1
    ]


def _text(name: str) -> str:
    return (files("vlm_runner.report") / "templates" / name).read_text(encoding="utf-8")


def _usd(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return dollars(value) if value >= 0.01 or value == 0 else f"${value:.4f}"


def html_environment(package: str) -> Environment:
    """For the HTML templates of a package: what is put into them is escaped, and nothing may be missing."""
    from jinja2 import PackageLoader  # noqa: PLC0415 - only a page needs it

    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = html_environment("vlm_runner.report")
    environment.filters["usd"] = _usd
    environment.filters["bound"] = bound
    environment.filters["about"] = lambda text, estimated: about(text, estimated=estimated)
    return environment
