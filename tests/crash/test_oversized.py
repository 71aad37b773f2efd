"""More data than anybody asked for, in every text of AWS's that can reach an event or a checkpoint."""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.aws.answers import LONGEST_NAME, AwsService
from vlm_runner.aws.bedrock import BedrockControl
from vlm_runner.checkpoint.integrity import MAX_BYTES
from vlm_runner.core.run import Phase
from vlm_runner.errors import AwsUnavailable
from vlm_runner.spec import ServingMode
from vlm_runner.testing import World, run_virtual

from .points import LARGEST, world_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

HUGE = "x" * MAX_BYTES
LONG = "x" * 1_000_000
"""Short enough to be taken for a text at all."""
NOW = datetime(2026, 11, 27, tzinfo=UTC)
ARN = "arn:aws:bedrock:us-east-1:123456789012:thing/abc"

ANSWERS: dict[str, dict[str, Any]] = {
    "GetModelCustomizationJob": {
        "jobArn": ARN, "jobName": "n", "status": "Failed", "clientRequestToken": "t", "failureMessage": "m",
        "outputModelArn": ARN, "lastModifiedTime": NOW,
        "statusDetails": {
            "validationDetails": {"status": "Completed"}, "dataProcessingDetails": {"status": "Completed"},
            "trainingDetails": {"status": "Failed"},
        },
        "trainingMetrics": {"trainingLoss": 1.0}, "validationMetrics": [{"validationLoss": 1.0}],
    },
    "GetProvisionedModelThroughput": {
        "provisionedModelArn": ARN, "provisionedModelName": "n", "status": "Failed", "failureMessage": "m",
        "modelArn": ARN, "creationTime": NOW,
    },
    "GetCustomModelDeployment": {
        "customModelDeploymentArn": ARN, "modelDeploymentName": "n", "status": "Failed",
        "failureMessage": "m", "modelArn": ARN, "createdAt": NOW,
    },
    "GetCustomModel": {
        "modelArn": ARN, "modelName": "n", "modelStatus": "Failed", "failureMessage": "m",
        "creationTime": NOW,
    },
    "GetFoundationModel": {
        "modelDetails": {
            "modelId": "m", "modelLifecycle": {"status": "ACTIVE"},
            "customizationsSupported": ["FINE_TUNING"], "inferenceTypesSupported": ["ON_DEMAND"],
        }
    },
}  # fmt: skip
LOOKS: dict[str, Callable[[BedrockControl], Awaitable[Any]]] = {
    "GetModelCustomizationJob": lambda bedrock: bedrock.find_job("n"),
    "GetProvisionedModelThroughput": lambda bedrock: bedrock.find_endpoint(ServingMode.PROVISIONED, "n"),
    "GetCustomModelDeployment": lambda bedrock: bedrock.find_endpoint(ServingMode.ON_DEMAND, "n"),
    "GetCustomModel": lambda bedrock: bedrock.find_model("n"),
    "GetFoundationModel": lambda bedrock: bedrock.foundation_model("m"),
}


def texts(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of all texts in it."""
    if isinstance(value, str):
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from texts(item, (*path, key))


def flooded(answer: dict[str, Any], path: tuple[str | int, ...], more: str) -> dict[str, Any]:
    whole = copy.deepcopy(answer)
    there: Any = whole
    for key in path[:-1]:
        there = there[key]
    there[path[-1]] = there[path[-1]] + more
    return whole


def longest(value: Any) -> int:
    """Characters of the longest text in what a port gives."""
    if isinstance(value, str):
        return len(value)
    if is_dataclass(value):
        return max((longest(getattr(value, field.name)) for field in fields(value)), default=0)
    if isinstance(value, dict):
        return max(map(longest, [*value, *value.values()]), default=0)
    return max(map(longest, value), default=0) if isinstance(value, tuple | list) else 0


class _Client:
    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    def __getattr__(self, _: str) -> Any:
        async def call(**_: Any) -> dict[str, Any]:
            return self._answer

        return call


async def seen(operation: str, answer: dict[str, Any]) -> Any:
    async def client() -> _Client:
        return _Client(answer)

    return await LOOKS[operation](BedrockControl(AwsService(client), AwsService(client)))


@pytest.mark.parametrize("more", [LONG, HUGE], ids=["long", "huge"])
@pytest.mark.parametrize("operation", ANSWERS)
async def test_each_text_of_an_answer_is_cut_or_refused(operation: str, more: str) -> None:
    assert await seen(operation, ANSWERS[operation]) is not None
    paths = list(texts(ANSWERS[operation]))

    assert len(paths) >= 4
    for path in paths:
        try:
            value = await seen(operation, flooded(ANSWERS[operation], path, more))
        except AwsUnavailable:
            continue
        assert longest(value) <= LONGEST_NAME, path


def _with(world: World, operation: str, **changes: Any) -> None:
    real = getattr(world.bedrock, operation)

    async def changed(*args: Any) -> Any:
        found = await real(*args)
        return None if found is None else replace(found, **changes)

    setattr(world.bedrock, operation, changed)


FIELDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a job's failure": ("job failed", "find_job", {"failure": HUGE}),
    "a throughput's failure": ("throughput failed", "find_endpoint", {"failure": HUGE}),
    "a model's failure": ("happy", "find_model", {"status": "Failed", "failure": HUGE}),
    "a model's reply": ("happy", "reply", {"text": HUGE}),
    "a job's details": ("job hangs", "find_job", {"details": {"training": "x" * LONGEST_NAME}}),
}


@pytest.mark.parametrize("field", [*FIELDS, "a job's status"])
@pytest.mark.parametrize("store", ["memory", "s3"])
def test_a_run_ends_and_its_checkpoint_stays_small(store: str, field: str) -> None:
    scenario, operation, changes = FIELDS.get(field, ("job hangs", "find_job", {}))
    world = world_of(scenario, store)
    _with(world, operation, **changes)
    # Shown as long as it runs, and no longer: a release waits until a job is seen to have ended.
    world.bedrock.odd_status = None if field in FIELDS else "x" * LONGEST_NAME

    async def main() -> None:
        run = await world.live()

        assert run.done
        assert await world.violations() == []
        assert all(len(checkpoint.model_dump_json()) < LARGEST for checkpoint in world.saved[-3:])

    run_virtual(main)


@pytest.mark.parametrize("store", ["memory", "s3"])
def test_a_cancel_for_a_reason_of_megabytes_ends_the_run(store: str) -> None:
    world = world_of("happy", store)

    async def main() -> None:
        await world.live(until=Phase.SUBMITTING)
        await world.cancel(HUGE)
        run = await world.live()

        assert run.outcome == "cancelled"
        assert await world.violations() == []
        assert all(len(checkpoint.model_dump_json()) < LARGEST for checkpoint in world.saved)

    run_virtual(main)
