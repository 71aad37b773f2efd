"""Before money is spent: check, show what it will be spent on, and ask, once."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio
import click

from vlm_runner.cli import console
from vlm_runner.cli.lint_source import table
from vlm_runner.doctor import BEFORE_DRIVING, BEFORE_START, Status
from vlm_runner.doctor.run import run_doctor
from vlm_runner.errors import ConfigurationError, UsageError
from vlm_runner.plan import plan_text
from vlm_runner.plan.plan import headline
from vlm_runner.plan.refusal import refuse_bad, refuse_findings
from vlm_runner.plan.several import headline_of_several, plan_of_several

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vlm_runner.core.events import RunCreated
    from vlm_runner.doctor import Check
    from vlm_runner.plan import Plan
    from vlm_runner.runner import Runner
    from vlm_runner.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What the command line says about spending, and what it calls the runs."""

    spec_file: str
    yes: bool
    lint: bool = True
    doctor: bool = True
    driven_here: bool = True
    """Whether these credentials drive the run; a task has a role of its own."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the runs of a sweep, by their ids: what each differs in."""


async def confirm(
    runner: Runner, settings: Settings, created: Sequence[RunCreated], consent: Consent
) -> list[RunCreated]:
    """
    Check what `prepare` described, show the plan on a terminal, and ask; return what is to be created.

    Raises:
        ConfigurationError: what AWS says would end the run later, and nothing was created.
        DataError: lint has errors, and nothing was created.
        UsageError: there is no terminal to ask for confirmation, or the answer was no.
    """
    if not created:
        return []
    terminal = console.at_terminal()
    if not (consent.yes or terminal) and any(one.budget is None for one in created):
        raise console.unattended(
            "This run costs money", "Confirm with: --yes, or set max_cost under [budget]."
        )
    checks = await _examined(runner, settings, created[0], consent) if consent.doctor else []
    for check in checks:
        if check.code in {"C17", "C18"} and check.status is Status.UNKNOWN and not terminal:
            console.say(f"vlm-runner: {check.about}: {check.message}")
    if consent.yes and not consent.lint:
        _refuse_bad(checks, consent)
        return list(created)
    plans = await _plans_of(runner, created, checks)
    if terminal:
        console.say(_shown(plans, consent))
    for plan in plans:
        _refuse(plan, consent, terminal=terminal)
    _refuse_bad(checks, consent)
    if terminal and not consent.yes and not await confirmed(_question(plans)):
        raise UsageError("Nothing was started.")
    return [plan.created for plan in plans if plan.created is not None]


def _question(plans: Sequence[Plan]) -> str:
    """With the sum once more: the plan above it may be longer than the screen."""
    if len(plans) == 1:
        return f"{headline(plans[0].cost)} Start it?"
    together = headline_of_several(plans)
    return f"{together[0].upper()}{together[1:]} Start these {len(plans)} runs?"


async def _examined(runner: Runner, settings: Settings, created: RunCreated, consent: Consent) -> list[Check]:
    parts = BEFORE_DRIVING if consent.driven_here else BEFORE_START
    region = settings.model_copy(update={"region": created.region})
    return await run_doctor(created.spec, region, runner.catalogue, created.run_id, parts)


async def _plans_of(runner: Runner, created: Sequence[RunCreated], checks: Sequence[Check]) -> list[Plan]:
    """Runs on the same data are looked at once."""
    seen: dict[str, RunCreated] = {}
    plans: list[Plan] = []
    for one in created:
        first = seen.setdefault(one.spec.content, one)
        preview = await runner.preview(one, like=None if first is one else first)
        plans.append(runner.plan_of(preview))
    return [replace(plans[0], doctor=tuple(checks)), *plans[1:]]


def _shown(plans: Sequence[Plan], consent: Consent) -> str:
    text = plan_text(plans[0], settings=False) if len(plans) == 1 else plan_of_several(plans, consent.labels)
    return text.replace("iam SPEC", f"iam {consent.spec_file}")


def _refuse_bad(checks: Sequence[Check], consent: Consent) -> None:
    refuse_bad(
        checks,
        all_of_them=f"vlm-runner doctor {consent.spec_file}",
        hint=lambda fix: f"{fix.replace('SPEC', consent.spec_file)}To start anyway: --no-doctor",
    )


def _refuse(plan: Plan, consent: Consent, *, terminal: bool) -> None:
    if consent.lint:
        if plan.report.failed and not terminal:
            console.say(table(plan.report))
        refuse_findings(
            plan.report,
            hint=f"See vlm-runner lint {consent.spec_file}, and its --fix. To start anyway: --no-lint",
        )
    if plan.refusal:
        raise ConfigurationError(plan.refusal, hint=f"Nothing was created. Then: {_again(consent)}")


def _again(consent: Consent) -> str:
    return f"vlm-runner {'sweep' if consent.labels else 'start'} {consent.spec_file}"


async def confirmed(question: str) -> bool:
    """
    Whether the person at the terminal says yes; anything else is no.

    Waits without a thread and without readline, which would keep Ctrl-C to itself.
    """
    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    await anyio.wait_readable(sys.stdin)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
