"""The plan of a sweep: its runs beside each other, with a total."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from vlm_runner.dollars import about, bound, dollars
from vlm_runner.plan.plan import checks_text, data_text, uploads_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from vlm_runner.plan.cost import Cost
    from vlm_runner.plan.plan import Plan


def plan_of_several(plans: Sequence[Plan], labels: Mapping[str, str]) -> str:
    """
    Text for a person who is about to pay for all of them.

    `labels` says of each run, by its id, what it differs in. Data and uploads are shown once for all runs
    that share them.
    """
    first = plans[0]
    shared = list({plan.spec.content: plan for plan in reversed(plans)}.values())[::-1]
    lines = [f"{len(plans)} runs: fine-tune {first.model}, {headline_of_several(plans)}"]
    if first.created is not None:
        lines.append(f"Account {first.created.account}, {first.created.region}.")
    seen: set[object] = set()
    for plan in shared:
        lines += data_text(plan)
        lines += (
            ["", "Upload: no image, they are those above"] if _images(plan) in seen else uploads_text(plan)
        )
        seen.add(_images(plan))
    return "\n".join([*lines, "", *_table(plans, labels), *checks_text(first)])


def headline_of_several(plans: Sequence[Plan]) -> str:
    """What they will cost together, in a few words."""
    estimated = any(plan.cost.estimated for plan in plans)
    expected = about(dollars(total(plans, lambda cost: cost.expected)), estimated=estimated)
    return f"expected {expected} in all, worst case {_worst(plans)}."


def _images(plan: Plan) -> object:
    """What the images of two plans have in common if they are the same."""
    if plan.created is None:
        return id(plan)
    return plan.created.dataset.fingerprint, plan.spec.images, plan.spec.model.base


def total(plans: Iterable[Plan], part: Callable[[Cost], Decimal | None]) -> Decimal | None:
    """None where one of them is not known."""
    parts = [part(plan.cost) for plan in plans]
    known = [one for one in parts if one is not None]
    return sum(known, Decimal(0)) if len(known) == len(parts) else None


def _worst(plans: Sequence[Plan]) -> str:
    if any(plan.cost.rents and plan.cost.kept_hours is None for plan in plans):
        return "no limit"
    return bound(total(plans, lambda cost: cost.worst))


def _table(plans: Sequence[Plan], labels: Mapping[str, str]) -> list[str]:
    rows = [("RUN", "VALUES", "EXPECTED", "WORST CASE")]
    for plan in plans:
        run_id = plan.created.run_id if plan.created is not None else ""
        rows.append((run_id, labels.get(run_id, ""), dollars(plan.cost.expected), _worst([plan])))
    rows.append(("total", "", dollars(total(plans, lambda cost: cost.expected)), _worst(plans)))
    wide = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        f"  {run:<{wide[0]}}  {values:<{wide[1]}}  {expected:>{wide[2]}}  {worst:>{wide[3]}}"
        for run, values, expected, worst in rows
    ]
