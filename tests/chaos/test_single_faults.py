"""
One fault in one call to AWS, over real HTTP: every call that a run makes, every way that it can go wrong.

All of them are the `crash` suite; a few of each kind run on every change.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.laptop import Laptop

FAULTS: dict[str, dict[str, Any]] = {
    "500": {"kind": "error", "code": "InternalServerException", "status": 500},
    "503": {"kind": "error", "code": "ServiceUnavailable", "status": 503},
    "429": {"kind": "error", "code": "ThrottlingException", "status": 429},
    "403 once": {"kind": "error", "code": "AccessDeniedException", "status": 403},
    "expired token once": {"kind": "error", "code": "ExpiredTokenException", "status": 403},
    "html 502": {"kind": "status", "status": 502},
    "reset before": {"kind": "reset_before"},
    "reset after": {"kind": "reset_after"},
    "slow": {"kind": "slow", "seconds": 1.0},
    "late": {"kind": "late", "seconds": 0.5},
}

# Operation and how many calls of it pass first: the first, and one in the middle of things.
CALLS = [
    ("GetCallerIdentity", 0),
    ("GetFoundationModel", 0),
    ("HeadBucket", 0),
    ("CreateBucket", 0),
    ("PutPublicAccessBlock", 0),
    ("ListObjectsV2", 0),
    ("ListObjectsV2", 2),
    *[("PutObject", after) for after in (0, 3, 8, 14, 19, 21)],
    *[("GetObject", after) for after in (0, 1, 3)],
    *[("GetModelCustomizationJob", after) for after in (0, 1, 3)],
    ("CreateModelCustomizationJob", 0),
    *[("GetCustomModel", after) for after in (0, 1)],
    *[("GetProvisionedModelThroughput", after) for after in (0, 1, 3)],
    ("CreateProvisionedModelThroughput", 0),
    *[("Converse", after) for after in (0, 1)],
    ("DeleteProvisionedModelThroughput", 0),
    ("ListTagsForResource", 0),
]

MATRIX = [
    pytest.param(operation, after, name, id=f"{operation}+{after} {name}")
    for operation, after in CALLS
    for name in FAULTS
]
EVERY_CHANGE = [
    ("CreateModelCustomizationJob", 0, "reset after"),
    ("CreateProvisionedModelThroughput", 0, "reset after"),
    ("CreateProvisionedModelThroughput", 0, "late"),
    ("DeleteProvisionedModelThroughput", 0, "403 once"),
    ("PutObject", 8, "reset after"),
    ("Converse", 1, "429"),
]


def go_on_until_done(laptop: Laptop, spec: Path) -> dict[str, Any]:
    """
    Start, and do what the tool says until the run is done: a fault may halt a run, and resume must end it.
    """
    said = ""
    for _ in range(4):
        done = laptop.here(
            "start",
            str(spec),
            "--yes",
            "--no-doctor",
            "--run-id",
            "cats",
            "--json",
            VLM_RUNNER_QUIET_MINUTES="0.02",
        )
        said += done.stderr[-2000:]
        assert done.returncode in {0, 4, 5, 75}, said
        result: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        if result.get("phase") == "done":
            return result
    raise AssertionError(f"not done after four tries: {said}")


def check(laptop: Laptop, pages: Path, operation: str, after: int, name: str) -> None:
    fault = FAULTS[name] | {"operation": operation, "after": after, "times": 1}
    spec = laptop.spec(pages)
    laptop.ask("faults", [fault])

    result = go_on_until_done(laptop, spec)

    laptop.assert_paid_once_and_over()
    assert result["records"]["train_records"] == 12
    if name != "403 once" or operation != "Converse":
        assert result["outcome"] == "succeeded", result["reason"]


@pytest.mark.parametrize(("operation", "after", "name"), EVERY_CHANGE)
def test_one_fault_changes_nothing_that_is_paid(
    laptop: Laptop, pages: Path, operation: str, after: int, name: str
) -> None:
    check(laptop, pages, operation, after, name)


@pytest.mark.crash
@pytest.mark.parametrize(("operation", "after", "name"), MATRIX)
def test_any_single_fault_changes_nothing_that_is_paid(
    laptop: Laptop, pages: Path, operation: str, after: int, name: str
) -> None:
    check(laptop, pages, operation, after, name)
