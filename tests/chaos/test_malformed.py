"""
Answers 200 that are not AWS's, in whole runs over HTTP: never exit code 1, and nothing is left billing.

What is answered so has happened: a create too. All of them are the `crash` suite; a few run on every change.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.laptop import Laptop

BODIES = {
    "HTML": "<html><head><title>Sign in</title></head><body>Accept our terms<br></html>",
    "empty object": "{}",
    "null": "null",
    "list": "[]",
    "truncated": '{"jobArn": "arn:aws:bedrock:us-east-1:1234',
    "wrong types": '{"status": [7], "jobArn": {}, "provisionedModelArn": 3, "provisionedModelSummaries": 1}',
}

CALLS = {
    "submitting": ("CreateModelCustomizationJob", 0),
    "training": ("GetModelCustomizationJob", 1),
    "the model": ("GetCustomModel", 0),
    "requesting": ("CreateProvisionedModelThroughput", 0),
    "warming": ("GetProvisionedModelThroughput", 1),
    "testing": ("Converse", 0),
    "releasing": ("DeleteProvisionedModelThroughput", 0),
    "releasing, listed": ("ListProvisionedModelThroughputs", 0),
}


def check(laptop: Laptop, pages: Path, phase: str, body: str) -> None:
    operation, after = CALLS[phase]
    fault = {"operation": operation, "after": after, "times": 2, "kind": "replaced", "body": BODIES[body]}
    spec = str(laptop.spec(pages))
    laptop.ask("faults", [fault])

    result: dict[str, Any] = {}
    said = ""
    for _ in range(4):
        done = laptop.here(
            "start", spec, "--yes", "--run-id", "cats", "--json", VLM_RUNNER_QUIET_MINUTES="0.02"
        )
        said += done.stderr[-2000:]
        assert done.returncode in {0, 75}, said
        result = json.loads(done.stdout) if done.stdout else {}
        if result.get("phase") == "done":
            break

    assert result.get("outcome") == "succeeded", said
    laptop.assert_paid_once_and_over()


@pytest.mark.parametrize(
    ("phase", "body"),
    [("submitting", "truncated"), ("requesting", "empty object"), ("releasing, listed", "HTML")],
)
def test_a_few_answers_that_are_not_aws_s_change_nothing_that_is_paid(
    laptop: Laptop, pages: Path, phase: str, body: str
) -> None:
    check(laptop, pages, phase, body)


@pytest.mark.crash
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("phase", CALLS)
def test_any_answer_that_is_not_aws_s_changes_nothing_that_is_paid(
    laptop: Laptop, pages: Path, phase: str, body: str
) -> None:
    check(laptop, pages, phase, body)


@pytest.mark.parametrize("body", ["HTML", "empty object", "list"])
def test_reap_says_that_it_could_not_see(laptop: Laptop, body: str) -> None:
    """The last net fails closed: no list is not an empty one."""
    fault = {"operation": "ListProvisionedModelThroughputs", "times": None, "kind": "replaced"}
    laptop.ask("faults", [fault | {"body": BODIES[body]}])

    done = laptop.here("reap", "--region", "us-east-1", "--yes")

    assert done.returncode not in {0, 1}
    assert "ListProvisionedModelThroughputs" in done.stderr
    assert "No endpoint" not in done.stderr
