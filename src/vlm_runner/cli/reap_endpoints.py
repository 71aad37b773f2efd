"""What `reap` does, and how it shows what is left."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio

from vlm_runner.aws.session import AwsSession
from vlm_runner.cli import console
from vlm_runner.cli.exit_codes import exit_code
from vlm_runner.cli.models import connected, model_json
from vlm_runner.cli.options import Where
from vlm_runner.cli.resolve import settings_for
from vlm_runner.clock import SystemClock
from vlm_runner.errors import ConfigurationError, UsageError
from vlm_runner.prices import priced_catalogue
from vlm_runner.reap import find_rented, may_still_bill
from vlm_runner.reap import reap as delete
from vlm_runner.steps.custom_models import outworn, reap_models, trained_models
from vlm_runner.stores import opened_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from vlm_runner.errors import VlmRunnerError
    from vlm_runner.json_output import RentedJson
    from vlm_runner.reap import RentedEndpoint
    from vlm_runner.settings import Settings
    from vlm_runner.steps.custom_models import TrainedModel


TOLD_FROM = 2.0
"""Seconds of looking; shorter is not worth a line."""


WHEN_UNCLEAR = (
    "What is unclear is not deleted. Which runs cannot be read, and why, says: vlm-runner list\n"
    "A run that a newer vlm-runner saved is read by that one. A damaged one may train on from any of these "
    "models: restore its checkpoint, or delete it from the store if its run is over. One model is deleted "
    "by: aws bedrock delete-custom-model --model-identifier ARN"
)


def reap_endpoints(*, yes: bool, older_than: float | None, models: bool, as_json: bool, **flags: Any) -> None:
    if models:
        _models(settings_for(Where(**flags)), older_than, yes=yes, as_json=as_json)
        return
    age = None if older_than is None else timedelta(seconds=older_than)
    unlisted: list[VlmRunnerError] = []
    found = anyio.run(_reap, settings_for(Where(**flags)), age, yes, unlisted.append)
    if as_json:
        console.result_json([as_json_value(one) for one in found])
    else:
        for one in found:
            console.result(line(one))
        if not found and not unlisted:
            console.say("No endpoint of a vlm-runner run was found here.")
    left = may_still_bill(found)
    if left:
        console.say(alarm(left, dry=not yes))
    if unlisted:
        # The exit code says that there may be more, and why it is not known.
        console.say(f"Not everything could be listed: {unlisted[-1]}")
    sys.exit(104 if left else exit_code(unlisted[-1]) if unlisted else 0)


def _models(settings: Settings, older_than: float | None, *, yes: bool, as_json: bool) -> None:
    """What cannot be deleted is said, and no alarm: a model costs dollars a month, and not an hour."""
    if older_than is None:
        raise UsageError(
            "--models needs --older-than: the age from which a model may be deleted.",
            hint="Give --older-than 30d.",
        )
    age, now = timedelta(seconds=older_than), SystemClock().now()

    async def found() -> list[TrainedModel]:
        async with opened_store(settings) as store, connected(settings) as aws:
            listed = await trained_models(aws, store, SystemClock())
            return await reap_models(aws, listed, now=now, older_than=age) if yes else listed

    models = anyio.run(found)
    if as_json:
        catalogue = priced_catalogue(settings)
        console.result_json([model_json(one, catalogue) for one in models])
        return
    for one in models:
        console.result(f"{_model_fate(one, now, age):<9} {one.name}  (run {one.run_id or 'unknown'})")
        if one.trouble is not None:
            console.say(f"{one.arn}: {one.trouble}")
    if any(one.trouble is not None and not one.gone for one in models):
        console.say(WHEN_UNCLEAR)
    if not yes and any(outworn(one, now, age) for one in models):
        console.say("Nothing was deleted. Delete what is marked OUTWORN with: --yes")


def _model_fate(one: TrainedModel, now: datetime, older_than: timedelta) -> str:
    if one.gone:
        return "deleted"
    if outworn(one, now, older_than):
        return "OUTWORN"
    return "kept" if one.kept else "in use" if one.in_use else "unclear" if one.trouble else "young"


async def _reap(
    settings: Settings,
    older_than: timedelta | None,
    yes: bool,  # noqa: FBT001
    on_unlisted: Callable[[VlmRunnerError], None],
) -> list[RentedEndpoint]:
    if settings.region is None:
        raise ConfigurationError("No AWS region.", hint="Give --region, or set AWS_REGION.")
    async with (
        opened_store(settings) as store,
        AwsSession(
            region=settings.region, profile=settings.profile, endpoint_url=settings.endpoint_url
        ) as aws,
    ):
        catalogue = priced_catalogue(settings)
        gone_after = settings.poll.gone_after
        if gone_after >= TOLD_FROM:
            console.say(f"Looking several times, for {gone_after:.0f} seconds: a list of AWS's may be stale.")
        found = await find_rented(
            aws,
            store,
            SystemClock(),
            catalogue,
            older_than=older_than,
            gone_after=gone_after,
            on_unlisted=on_unlisted,
        )
        return await delete(aws, found, gone_after=gone_after) if yes else found


def line(one: RentedEndpoint) -> str:
    rented = one.rented
    price = f" ${one.price_per_hour}/h" if one.price_per_hour else ""
    return (
        f"{_fate(one):<11} {rented.status:<10} {rented.name}{price}  "
        f"(run {rented.run_id or 'unknown'}: {one.verdict.reason})"
    )


def _fate(one: RentedEndpoint) -> str:
    if one.gone:
        return "deleted"
    if one.verdict.outlived:
        return "OUTLIVED"
    return "kept" if one.verdict.explained else "UNEXPLAINED"


def alarm(left: Sequence[RentedEndpoint], *, dry: bool) -> str:
    lines: list[str] = []
    outlived = [one for one in left if one.verdict.outlived]
    for headline, some in (
        ("STILL BILLING, and outlived its run:", outlived),
        (
            "BILLING, and explained by no run that can be read here; nothing was deleted:",
            [one for one in left if not one.verdict.outlived],
        ),
    ):
        lines += ["", headline] if some else []
        for one in some:
            price = f", ${one.price_per_hour} per hour" if one.price_per_hour else ""
            why = one.trouble or (None if one.verdict.outlived else one.verdict.reason)
            lines += [f"  {one.rented.arn}{price}{f': {why}' if why else ''}"]
            lines += [f"  delete it with: {one.delete_command}"]
    if dry and outlived:
        lines += ["Nothing was deleted. Delete what outlived its run with: vlm-runner reap --yes"]
    if len(left) > len(outlived):
        lines += ["Count what is old enough as outlived with: --older-than 12h"]
    return "\n".join(lines)


def as_json_value(one: RentedEndpoint) -> RentedJson:
    rented = one.rented
    return {
        "kind": "provisioned throughput" if rented.mode == "provisioned" else "custom model deployment",
        "name": rented.name,
        "arn": rented.arn,
        "status": rented.status,
        "created_at": None if rented.created_at is None else str(rented.created_at),
        "run_id": rented.run_id,
        "outlived": one.verdict.outlived,
        "explained": one.verdict.explained,
        "reason": one.verdict.reason,
        "deleted": one.gone,
        "trouble": one.trouble,
        "price_per_hour": one.price_per_hour,
        "delete_command": one.delete_command,
    }
