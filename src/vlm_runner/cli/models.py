"""models, keep and delete: what runs have trained, and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.aws.session import AwsSession
from vlm_runner.cli import console
from vlm_runner.cli.options import Where, delete_option, json_option, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.run_argument import run_argument
from vlm_runner.cli.run_text import Reach
from vlm_runner.clock import SystemClock
from vlm_runner.core.names import run_folder
from vlm_runner.core.timeline import spelled
from vlm_runner.dollars import dollars
from vlm_runner.errors import ConfigurationError, UsageError
from vlm_runner.prices import priced_catalogue
from vlm_runner.runner import Runner
from vlm_runner.steps.custom_models import mark, trained_models
from vlm_runner.steps.delete_run import refuse_in_use
from vlm_runner.stores import opened_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.core.deletion import RunDeletion
    from vlm_runner.json_output import DeletionJson, TrainedModelJson
    from vlm_runner.models import Catalogue
    from vlm_runner.settings import Settings
    from vlm_runner.steps.custom_models import TrainedModel


@click.command()
@json_option
@where_options
def models(*, as_json: bool, **flags: Any) -> None:
    """List the models that runs trained: scores, age, use, storage.

    Models of this account and region with our name and tag, also those of runs in another store. A model
    is billed for storage until it is deleted.

    \b
    Example:
        vlm-runner models --region us-east-1
    """
    settings = settings_for(Where(**flags), ask_profile=True)
    found, catalogue = anyio.run(load_models, settings), priced_catalogue(settings)
    if as_json:
        console.result_json([model_json(one, catalogue) for one in found])
        return
    if not found:
        console.say("No model of a vlm-runner run was found here.")
        return
    rows = [_row(one, catalogue) for one in found]
    head = ("RUN", "BASE", "FROM", "AGE", "SCORES", "USE", "A MONTH")
    widths = [max(len(line[at]) for line in (head, *rows)) for at in range(len(head))]
    for line in (head, *rows):
        padded = (f"{text:<{width}}" for text, width in zip(line, widths, strict=True))
        console.result("  ".join(padded).rstrip())
    known = [price for one in found if (price := _storage(one, catalogue)) is not None]
    cost = f"{dollars(sum(known))} a month{_unknown(found, known)}"
    console.say(f"{len(found)} {'model' if len(found) == 1 else 'models'}; storage costs {cost}.")


def _unknown(found: Sequence[TrainedModel], known: Sequence[float]) -> str:
    left = len(found) - len(known)
    return f", and that of {left} at a price that is not known" if left else ""


def _row(one: TrainedModel, catalogue: Catalogue) -> tuple[str, ...]:
    price = _storage(one, catalogue)
    since = None if one.created_at is None else (datetime.now(UTC) - one.created_at).total_seconds()
    age = "" if since is None else spelled(max(0.0, since))
    scores, parent = _scores(one), one.run.created.parent if one.run is not None else None
    return (
        one.run_id or one.name,
        one.run.spec.model.base if one.run is not None else "unknown",
        parent.run_id if parent is not None else "",
        age,
        ", ".join(f"{name} {value:.2f}" for name, value in list(scores.items())[:2]),
        _use(one),
        dollars(price),
    )


def _use(one: TrainedModel) -> str:
    if one.endpoints:
        return "served"
    if one.used_by:
        return f"used by {', '.join(one.used_by)}"
    return "kept" if one.kept else ""


def _scores(one: TrainedModel) -> dict[str, float]:
    report = one.run.report if one.run is not None else None
    return report.scores.get("tuned", {}) if report is not None else {}


def _storage(one: TrainedModel, catalogue: Catalogue) -> float | None:
    profile = catalogue.known(one.run.spec.model.base) if one.run is not None else None
    price = None if profile is None else profile.storage_price()
    return None if price is None else float(price)


def model_json(one: TrainedModel, catalogue: Catalogue) -> TrainedModelJson:
    return {
        "arn": one.arn,
        "name": one.name,
        "run_id": one.run_id,
        "base_model": one.run.spec.model.base if one.run is not None else None,
        "from_run": one.run.created.parent.run_id if one.run and one.run.created.parent else None,
        "created_at": None if one.created_at is None else one.created_at.isoformat(),
        "status": one.status,
        "scores": _scores(one),
        "kept": one.kept,
        "endpoints": list(one.endpoints),
        "used_by": list(one.used_by),
        "storage_per_month_usd": _storage(one, catalogue),
        "deleted": one.gone,
        "trouble": one.trouble,
    }


async def load_models(settings: Settings) -> list[TrainedModel]:
    """
    Raises:
        ConfigurationError: no region.
    """
    async with opened_store(settings) as store, connected(settings) as aws:
        return await trained_models(aws, store, SystemClock())


def connected(settings: Settings) -> AwsSession:
    if settings.region is None:
        raise ConfigurationError("No AWS region.", hint="Give --region, or set AWS_REGION.")
    return AwsSession(region=settings.region, profile=settings.profile, endpoint_url=settings.endpoint_url)


@click.command()
@run_argument()
@click.option("--undo", is_flag=True, help="Remove the mark.")
@where_options
def keep(run_id: str, *, undo: bool, **flags: Any) -> None:
    """Keep the model of RUN: neither reap nor delete removes it.

    The mark is a tag on the model.

    \b
    Example:
        vlm-runner keep cats
        vlm-runner keep cats --undo
    """
    anyio.run(partial(_keep, settings_for(Where(**flags)), run_id, undo=undo))
    console.say(f"The model of run {run_id} is {'no longer kept' if undo else 'kept'}.")


async def _keep(settings: Settings, run_id: str, *, undo: bool) -> None:
    async with Runner.open(settings) as runner:
        run = await runner.get(run_id)
        if run.own_model is None:
            raise UsageError(f"Run {run_id} trained no model.")
        arn = run.own_model.model_arn
    async with connected(settings.model_copy(update={"region": run.region})) as aws:
        await mark(aws, arn, keep=not undo)


@click.command()
@run_argument()
@delete_option
@json_option
@where_options
def delete(run_id: str, *, yes: bool, as_json: bool, **flags: Any) -> None:
    """Delete RUN: endpoint, model, answers, data that only it uses.

    Its checkpoint goes last, so that an interrupted deletion can be repeated. What is in use is refused. Runs
    of another store are not known here: do not delete data that they share.

    \b
    Example:
        vlm-runner delete cats                  what would be deleted, and what other runs use
        vlm-runner delete cats --yes
    """
    settings = settings_for(Where(**flags))
    plan = anyio.run(partial(_delete, settings, run_id, yes=yes))
    if as_json:
        console.result_json(_plan_json(plan, deleted=yes))
    elif not yes:
        for line in plan_lines(plan):
            console.result(line)
        if plan.in_use:
            console.say("\n".join(["It cannot be deleted:", *(f"  {reason}" for reason in plan.in_use)]))
        else:
            again = Reach(Where(**flags).given()).command("delete", run_id, "--yes")
            console.say(f"Nothing was deleted. Delete it with: {again}")


async def _delete(settings: Settings, run_id: str, *, yes: bool) -> RunDeletion:
    async with Runner.open(settings) as runner:
        if not yes:
            return await runner.prepare_deletion(run_id)
        refuse_in_use(await runner.prepare_deletion(run_id))
        return await runner.delete(run_id, told=lambda what: console.say(f"deleted {what}"))


def plan_lines(plan: RunDeletion) -> list[str]:
    """What would be deleted, and what stays because others use it."""
    bucket = f"s3://{plan.run.bucket}/"
    lines = [f"endpoint  {plan.endpoint[1]}"] if plan.endpoint is not None else []
    lines += [f"model     {plan.model_arn}"] if plan.model_arn is not None else []
    for fate in plan.places:
        for name, uri, users in (
            ("images", fate.place.images, fate.images_used_by),
            ("records", fate.place.records, fate.records_used_by),
        ):
            stays = f"  stays: used by {', '.join(users)}" if users else ""
            lines.append(f"{name:<9} {bucket}{uri}{stays}")
    for run in (*plan.servings, plan.run):
        lines.append(f"run       {run.run_id}: its checkpoint, and {bucket}{run_folder(run)}")
    return [line.replace("\n", " ") for line in lines]  # keys are the run's own, and it may be a stranger's


def _plan_json(plan: RunDeletion, *, deleted: bool) -> DeletionJson:
    return {
        "run_id": plan.run.run_id,
        "deleted": deleted,
        "in_use": list(plan.in_use),
        "runs": [one.run_id for one in (*plan.servings, plan.run)],
        "endpoint_arn": None if plan.endpoint is None else plan.endpoint[1],
        "model_arn": plan.model_arn,
        "data": [
            {
                "images": fate.place.images,
                "records": fate.place.records,
                "images_used_by": list(fate.images_used_by),
                "records_used_by": list(fate.records_used_by),
            }
            for fate in plan.places
        ],
    }
