"""Every request to the control plane waits for its turn: by real botocore, over real HTTP."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

from vlm_runner.aws.limiter import RATE, limiter_of
from vlm_runner.aws.session import AwsSession
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    import pytest


def recorded(url: str, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each turn that is taken from now on, whether it was an urgent one."""
    limiter, turns = limiter_of(None, url, "us-east-1"), []
    take = limiter.take

    async def noted(*, urgent: bool = False) -> None:
        turns.append(urgent)
        await take(urgent=urgent)

    monkeypatch.setattr(limiter, "take", noted)
    return turns


def throttle_once(url: str, operation: str) -> None:
    fault = {"operation": operation, "kind": "error", "code": "ThrottlingException", "times": 1}
    body, headers = json.dumps([fault]).encode(), {"content-type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{url}/_sandbox/faults", body, headers)).close()


async def test_repeats_wait_too_and_a_refusal_slows_all_runs(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttle_once(url, "GetCustomModel")
    turns = recorded(url, monkeypatch)

    async with AwsSession(region="us-east-1", endpoint_url=url) as aws:
        assert await aws.bedrock.find_model("nobody") is None

    assert turns == [False, False]
    assert limiter_of(None, url, "us-east-1").rate < 0.6 * RATE


async def test_what_ends_a_bill_is_urgent_and_looking_is_not(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = recorded(url, monkeypatch)

    async with AwsSession(region="us-east-1", endpoint_url=url) as aws:
        await aws.bedrock.find_job("nobody")
        await aws.bedrock.stop_job("nobody")
        await aws.bedrock.find_endpoint(ServingMode.PROVISIONED, "nobody")
        await aws.bedrock.delete_endpoint(ServingMode.PROVISIONED, "nobody")
        [_ async for _ in aws.bedrock.list_endpoints(ServingMode.PROVISIONED, "vr-")]

    assert turns == [False, True, False, True, False]
    assert limiter_of(None, url, "us-east-1").rate == RATE
