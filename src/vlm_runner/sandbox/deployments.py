"""On-demand deployments of custom models: paid by the token, free while idle."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from vlm_runner.sandbox.errors import AwsError, invalid
from vlm_runner.sandbox.ledger import Entry
from vlm_runner.sandbox.listing import by_name, find, page, select
from vlm_runner.sandbox.resources import Deployment, Region, later
from vlm_runner.sandbox.state import SandboxState, tags_of
from vlm_runner.sandbox.throughputs import servable

P = Mapping[str, Any]
ID = "customModelDeploymentIdentifier"


def create_deployment(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    now = state.now()
    memory = timedelta(seconds=state.scenario.token_memory_seconds)
    # The operation declares no ConflictException, so a name in use can only be a ValidationException.
    clash = "ValidationException"
    if arn := region.tokens.recall("CreateCustomModelDeployment", p, now, memory, clash=clash):
        return {"customModelDeploymentArn": arn}
    model_arn, base = servable(region, p["modelArn"], now)
    if ":custom-model/" not in model_arn or not base.on_demand_deployment:
        raise invalid(f"The model {p['modelArn']} does not support on-demand deployment.")
    base.require_alive(now)
    if by_name(region.deployments, p["modelDeploymentName"]):
        raise invalid("The provided model deployment name is currently in use.")
    tags = tags_of(p, "tags")
    _check_quota(state, region, now)
    arn, name = state.arn(region.name, "custom-model-deployment"), p["modelDeploymentName"]
    entry = Entry("custom_model_deployment", name, arn, region.name, now, base, lambda _: "Creating")
    ready_at, failure = later(now, state.scenario.deployment_seconds), state.use_once("fail_next_deployment")
    one = Deployment(arn, name, model_arn, base, p.get("description"), now, ready_at, entry, failure)
    entry.status = one.status
    state.ledger.open(entry)
    region.deployments[arn] = one
    region.tags[arn] = tags
    region.tokens.remember("CreateCustomModelDeployment", p, now, arn)
    return {"customModelDeploymentArn": arn}


def _check_quota(state: SandboxState, region: Region, now: datetime) -> None:
    scenario, there = state.scenario, region.deployments.values()
    creating = sum(one.status(now) == "Creating" for one in there)
    for count, limit, what in (
        (creating, scenario.deployments_in_progress, "deployments in progress"),
        (len(there), scenario.deployments, "custom model deployments"),
    ):
        if count >= limit:
            raise AwsError("ServiceQuotaExceededException", f"You have exceeded the limit of {limit} {what}.")


def get_deployment(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    one, now = find(region.deployments, p[ID]), state.now()
    return {
        "customModelDeploymentArn": one.arn,
        "modelDeploymentName": one.name,
        "modelArn": one.model_arn,
        "createdAt": one.created_at,
        "status": one.status(now),
        "description": one.description,
        "failureMessage": one.failure if one.status(now) == "Failed" else None,
        "lastUpdatedAt": one.ready_at if now >= one.ready_at else one.created_at,
    }


def list_deployments(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    now = state.now()
    # The filters of this one list are called createdBefore and createdAfter.
    times = {"creationTimeAfter": p.get("createdAfter"), "creationTimeBefore": p.get("createdBefore")}
    chosen = select(region.deployments.values(), {**p, **times}, status=lambda one: one.status(now))
    rows = [
        {
            "customModelDeploymentArn": one.arn,
            "customModelDeploymentName": one.name,
            "modelArn": one.model_arn,
            "createdAt": one.created_at,
            "status": one.status(now),
            "lastUpdatedAt": one.ready_at if now >= one.ready_at else one.created_at,
            "failureMessage": one.failure if one.status(now) == "Failed" else None,
        }
        for one in chosen
        if p.get("modelArnEquals", one.model_arn) == one.model_arn
    ]
    return page(rows, p, "modelDeploymentSummaries")


def delete_deployment(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    one, now = find(region.deployments, p[ID]), state.now()
    if (status := one.status(now)) in {"Creating", "Deleting"}:
        raise AwsError("ConflictException", f"The custom model deployment is {status} and cannot be deleted.")
    one.gone_at = later(now, state.scenario.deleting_seconds)
    one.entry.ended_at = now
    one.entry.status = lambda _: "Deleted"
    remove_deleted(region, now)
    return {}


def remove_deleted(region: Region, now: datetime) -> None:
    """A deployment is shown as Deleting for a while (Nova user guide, delete-custom-model-deployment)."""
    for one in list(region.deployments.values()):
        if one.gone_at and now >= one.gone_at:
            del region.deployments[one.arn]
            region.tags.pop(one.arn, None)
