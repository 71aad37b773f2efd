"""Provisioned throughput, which is billed by the hour until it is deleted."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from vlm_runner.sandbox.catalogue import FoundationModel, find_model
from vlm_runner.sandbox.errors import AwsError, invalid
from vlm_runner.sandbox.ledger import Entry
from vlm_runner.sandbox.listing import by_name, find, page, select
from vlm_runner.sandbox.resources import Region, Throughput, later
from vlm_runner.sandbox.state import SandboxState, tags_of

P = Mapping[str, Any]
_COMMITMENT_DAYS = {"OneMonth": 30, "SixMonths": 180}


def servable(region: Region, identifier: str, now: datetime) -> tuple[str, FoundationModel]:
    """The ARN and base of a custom model that is Active, or of a foundation model."""
    custom = region.models.get(identifier) or by_name(region.models, identifier)
    if custom is None:
        if ":custom-model/" in identifier:
            raise AwsError("ResourceNotFoundException", "The provided custom model could not be found.")
        model, _ = find_model(identifier, region.name)
        return model.arn(region.name), model
    if custom.status(now) != "Active":
        raise invalid(f"The custom model {custom.name} is {custom.status(now)}; it must be Active.")
    return custom.arn, custom.job.model


def create_throughput(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    now = state.now()
    memory = timedelta(seconds=state.scenario.token_memory_seconds)
    # The operation declares no ConflictException, so a name in use can only be a ValidationException.
    clash = "ValidationException"
    if arn := region.tokens.recall("CreateProvisionedModelThroughput", p, now, memory, clash=clash):
        return {"provisionedModelArn": arn}
    model_arn, base = servable(region, p["modelId"], now)
    base.require_active(now)
    if by_name(region.throughputs, p["provisionedModelName"]):
        raise invalid("The provided provisioned model name is currently in use.")
    tags = tags_of(p, "tags")
    _check_quota(state, region, p, base)
    throughput = _new_throughput(state, region, p, model_arn, base)
    region.throughputs[throughput.arn] = throughput
    region.tags[throughput.arn] = tags
    throughput.entry.tags = dict(tags)
    region.tokens.remember("CreateProvisionedModelThroughput", p, now, throughput.arn)
    return {"provisionedModelArn": throughput.arn}


def _check_quota(state: SandboxState, region: Region, p: P, base: FoundationModel) -> None:
    if "commitmentDuration" in p:
        return
    taken = sum(one.units for one in region.throughputs.values() if one.commitment is None)
    if taken + p["modelUnits"] > state.scenario.no_commitment_units:
        raise AwsError(
            "ServiceQuotaExceededException",
            "Your account does not currently have any no commitment model units reserved for "
            f"{base.customizable_id}.",
        )


def _new_throughput(
    state: SandboxState, region: Region, p: P, model_arn: str, base: FoundationModel
) -> Throughput:
    now, arn = state.now(), state.arn(region.name, "provisioned-model")
    name, commitment = p["provisionedModelName"], p.get("commitmentDuration")
    entry = Entry(
        "provisioned_throughput",
        name,
        arn,
        region.name,
        now,
        base,
        lambda _: "Creating",
        units=p["modelUnits"],
        commitment=commitment,
    )
    throughput = Throughput(
        arn=arn,
        name=name,
        units=p["modelUnits"],
        model_arn=model_arn,
        base=base,
        commitment=commitment,
        created_at=now,
        ready_at=later(now, state.scenario.throughput_seconds),
        entry=entry,
        failure=state.use_once("fail_next_throughput"),
        desired_model_arn=model_arn,
    )
    entry.status = throughput.status
    state.ledger.open(entry)
    return throughput


def get_throughput(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    one, now = find(region.throughputs, p["provisionedModelId"]), state.now()
    return _summary(one, now) | {"failureMessage": one.failure if one.status(now) == "Failed" else None}


def _summary(one: Throughput, now: datetime) -> dict[str, Any]:
    modified = max(
        m for m in (one.created_at, one.ready_at, one.updated_at) if m and (m <= now or m == one.created_at)
    )
    return {
        "modelUnits": one.units,
        "desiredModelUnits": one.units,
        "provisionedModelName": one.name,
        "provisionedModelArn": one.arn,
        "modelArn": one.serves(now),
        "desiredModelArn": one.desired_model_arn,
        "foundationModelArn": one.base.arn(one.arn.split(":")[3]),
        "status": one.status(now),
        "creationTime": one.created_at,
        "lastModifiedTime": modified,
        "commitmentDuration": one.commitment,
        "commitmentExpirationTime": _committed_until(one),
    }


def _committed_until(one: Throughput) -> datetime | None:
    return one.created_at + timedelta(days=_COMMITMENT_DAYS[one.commitment]) if one.commitment else None


def list_throughputs(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    now = state.now()
    chosen = select(region.throughputs.values(), p, status=lambda one: one.status(now))
    rows = [
        _summary(one, now) for one in chosen if p.get("modelArnEquals", one.serves(now)) == one.serves(now)
    ]
    return page(rows, p, "provisionedModelSummaries")


def update_throughput(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    one, now = find(region.throughputs, p["provisionedModelId"]), state.now()
    if one.status(now) != "InService":
        raise invalid(f"The provisioned model is {one.status(now)} and cannot be updated.")
    if name := p.get("desiredProvisionedModelName"):
        other = by_name(region.throughputs, name)
        if other and other is not one:
            raise invalid("The provided provisioned model name is currently in use.")
        one.name = one.entry.name = name
    if wanted := p.get("desiredModelId"):
        model_arn, base = servable(region, wanted, now)
        if base != one.base:
            raise invalid("The desired model must have the same base model as the provisioned model.")
        one.model_arn, one.desired_model_arn = one.serves(now), model_arn
        one.updated_at = later(now, state.scenario.throughput_updating_seconds)
    return {}


def delete_throughput(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    """Only InService or Failed ones, and only after the commitment term (user guide, prov-thru-delete)."""
    one, now = find(region.throughputs, p["provisionedModelId"]), state.now()
    if one.status(now) not in {"InService", "Failed"}:
        raise AwsError(
            "ConflictException", f"The provisioned model is {one.status(now)} and cannot be deleted."
        )
    until = _committed_until(one)
    if until and now < until:
        raise AwsError(
            "ConflictException", "A provisioned model cannot be deleted before its commitment term ends."
        )
    del region.throughputs[one.arn]
    region.tags.pop(one.arn, None)
    one.entry.ended_at = now
    one.entry.status = lambda _: "Deleted"
    return {}
