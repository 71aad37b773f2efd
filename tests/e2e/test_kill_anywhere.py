"""`kill -9` in each phase, while its call to AWS is on its way, with checkpoints on disk and in S3."""

from __future__ import annotations

import json
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from .laptop import until

if TYPE_CHECKING:
    from pathlib import Path

    from .laptop import Laptop

# The phase, and the call that is held open in it so that the kill meets it half-way.
MOMENTS = {
    "staging": ("PutObject", 9),
    "recording": ("PutObject", 19),
    "submitting": ("CreateModelCustomizationJob", 0),
    "training": ("GetModelCustomizationJob", 1),
    "requesting": ("CreateProvisionedModelThroughput", 0),
    "warming": ("GetProvisionedModelThroughput", 1),
    "testing": ("Converse", 0),
    "releasing": ("DeleteProvisionedModelThroughput", 0),
}
HELD_SECONDS = 1.5


def store_of(laptop: Laptop, kind: str) -> list[str]:
    if kind == "local":
        return []
    laptop.boto("s3").create_bucket(Bucket="checkpoints")
    return ["--store", "s3://checkpoints/runs-of-mine", "--region", laptop.region]


def held(laptop: Laptop, operation: str) -> bool:
    """Whether the slow call has arrived: the sandbox counts a fault down when it meets it."""
    return not any(fault["operation"] == operation for fault in laptop.ask("faults"))


@pytest.mark.parametrize(
    ("phase", "store"),
    [(phase, "local") for phase in MOMENTS]
    + [(phase, "s3") for phase in ("staging", "submitting", "requesting", "testing")],
)
def test_killed_in_any_phase_it_is_resumed_and_pays_once(
    laptop: Laptop, pages: Path, phase: str, store: str
) -> None:
    where = store_of(laptop, store)
    operation, after = MOMENTS[phase]
    slow = {"operation": operation, "kind": "slow", "seconds": HELD_SECONDS, "after": after, "times": 1}
    laptop.ask("faults", [slow])
    # A second and a half are ninety minutes here: longer than tokens are remembered, and than any network
    # holds a request. What a forgotten token costs is the simulation's question.
    laptop.ask("scenario", {"token_memory_seconds": 86400})
    runner = laptop.cli_in_background("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats", *where)
    until(lambda: held(laptop, operation), f"the {operation} of {phase}")

    runner.send_signal(signal.SIGKILL)
    runner.wait(10)
    # A request that was on its way still arrives, after the death of whoever sent it.
    resumed = laptop.here("resume", "cats", "--json", *where, VLM_RUNNER_QUIET_MINUTES="0.05")

    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["outcome"] == "succeeded"
    laptop.assert_paid_once_and_over()


@pytest.mark.crash
@pytest.mark.parametrize("store", ["local", "s3"])
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_random_again_and_again_it_pays_once(
    laptop: Laptop, pages: Path, store: str, seed: int
) -> None:
    chance = random.Random(seed)
    where = store_of(laptop, store)
    laptop.ask("clock", {"speed": 1200})
    words = ["start", str(laptop.spec(pages)), "--yes", "--run-id", "cats"]
    for _ in range(4):
        runner = laptop.cli_in_background(*words, *where)
        time.sleep(chance.uniform(0.5, 6))
        runner.kill()
        runner.wait(10)

    resumed = laptop.here(*words, "--json", *where, VLM_RUNNER_QUIET_MINUTES="0.05")

    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["outcome"] == "succeeded"
    laptop.assert_paid_once_and_over()
