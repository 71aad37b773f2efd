"""What `plan` does: the run that a spec would make, its data and its cost."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from vlm_runner.cli import console
from vlm_runner.cli.lint_source import lint_rows
from vlm_runner.cli.options import Where
from vlm_runner.cli.resolve import settings_for
from vlm_runner.doctor import Status
from vlm_runner.doctor.run import run_doctor
from vlm_runner.errors import ConfigurationError, VlmRunnerError
from vlm_runner.models.settle import serving_reason, settled
from vlm_runner.plan import Origin, Plan, estimate, plan_json, plan_text, within
from vlm_runner.prices import priced_catalogue
from vlm_runner.redact import without_path
from vlm_runner.runner import Runner
from vlm_runner.settings import EventSettings, Settings
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from vlm_runner.models import Catalogue


def plan_spec(spec_file: str, run_id: str | None, *, offline: bool, as_json: bool, **flags: Any) -> None:
    where = Where(**flags)
    spec = RunSpec.from_toml(Path(spec_file))
    settings = settings_for(where, spec_region=spec.aws.region, ask_profile=not offline)
    origins = origins_of(spec, settings, where)
    if offline:
        made = _offline(spec, settings, priced_catalogue(settings), origins)
    else:
        made = anyio.run(_asked, spec, settings, run_id, origins)
    if as_json:
        console.result_json(plan_json(made))
    else:
        console.result(plan_text(made).replace("iam SPEC", f"iam {spec_file}"))
    sys.exit(_code(made))


def _code(plan: Plan) -> int:
    if plan.report.failed:
        return 3
    bad = any(check.status is Status.BAD for check in plan.doctor)
    return 4 if plan.refusal or bad else 0


def _offline(spec: RunSpec, settings: Settings, catalogue: Catalogue, origins: tuple[Origin, ...]) -> Plan:
    profile = catalogue.find(spec.model.base)
    reason, spec = serving_reason(spec, profile), settled(spec, profile)
    report = lint_rows(spec, profile, settings)
    train, *rest = report.census.values()
    cost = estimate(spec, profile, train, rest[0] if rest else None)
    budget, refusal = None, None
    try:
        budget = within(spec, profile, cost)
    except ConfigurationError as error:
        refusal = str(error)
    return Plan(
        spec=spec,
        model=profile.name,
        report=report,
        cost=cost,
        serving_reason=reason,
        origins=origins,
        budget=budget,
        refusal=refusal,
    )


async def _asked(spec: RunSpec, settings: Settings, run_id: str | None, origins: tuple[Origin, ...]) -> Plan:
    """With AWS asked; what it refuses is a line of the plan, beside data and prices."""
    async with Runner.open(settings) as runner:
        checks = tuple(await run_doctor(spec, settings, runner.catalogue, run_id))
        try:
            existing = await runner.existing(spec, run_id=run_id)
            created = None if existing is not None else await runner.prepare(spec, run_id=run_id)
            if created is not None:
                made = runner.plan_of(await runner.preview(created))
                # The last part of each name is the run's own, and chosen when it is created.
                resources = tuple(
                    (kind, name if kind == "bucket" else f"{name.rpartition('-')[0]}-…", action)
                    for kind, name, action in made.resources
                )
                return replace(made, origins=origins, doctor=checks, resources=resources)
        except VlmRunnerError as error:
            made = await to_thread.run_sync(_offline, spec, settings, runner.catalogue, origins)
            return replace(made, doctor=checks, refusal=str(error))
        made = await to_thread.run_sync(_offline, spec, settings, runner.catalogue, origins)
        return replace(made, doctor=checks, existing=existing)


def origins_of(spec: RunSpec, settings: Settings, where: Where) -> tuple[Origin, ...]:
    """Where each setting came from: flag, environment, file or default."""
    flags = {
        "profile": where.profile,
        "region": where.region,
        "endpoint_url": where.endpoint_url,
        "checkpoint_uri": where.store,
    }
    environment = Settings.from_environment().model_fields_set
    found = []
    for name in type(settings).model_fields:
        value = _of_setting(getattr(settings, name))
        if flags.get(name) is not None:
            found.append(Origin(name, value, "flag"))
        elif name in environment:
            found.append(Origin(name, value, "environment"))
        elif name == "region" and settings.region is not None:
            found.append(Origin(name, value, "file" if spec.aws.region == settings.region else "environment"))
        else:
            found.append(Origin(name, value, "default"))
    for section, table in spec:
        for name, value in table:
            given = section in spec.model_fields_set and name in table.model_fields_set
            found.append(Origin(f"{section}.{name}", _shown(name, value), "file" if given else "default"))
    return tuple(found)


def _of_setting(value: object) -> str:
    if isinstance(value, EventSettings) and value.webhook is not None:
        value = value.model_copy(update={"webhook": without_path(value.webhook)})
    return str(value)


def _shown(name: str, value: object) -> str:
    if name == "webhook":
        return str(value and without_path(str(value)))
    return (
        ", ".join(f"{key} = {each}" for key, each in value.items()) if isinstance(value, dict) else str(value)
    )
