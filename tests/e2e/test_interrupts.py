"""Ctrl-C, once and twice, at a real process."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from .laptop import SWITCH_ROLE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.forks import Process

    from .laptop import Laptop

HOUR = 3600


def warming(laptop: Laptop, pages: Path, **changes: str) -> Process:
    """A run that rents an endpoint, which takes longer than the test to come up."""
    laptop.ask("scenario", {"throughput_seconds": 5 * HOUR})
    runner = laptop.cli_in_background(
        "start", str(laptop.spec(pages, **changes)), "--yes", "--run-id", "cats"
    )
    laptop.await_phase("cats", "training", runner)
    laptop.ask("clock", {"advance_seconds": 10 * HOUR})
    laptop.await_phase("cats", "warming", runner)
    return runner


def test_one_interrupt_stops_resumably_and_names_what_bills(slow_laptop: Laptop, pages: Path) -> None:
    runner = warming(slow_laptop, pages)

    runner.send_signal(signal.SIGINT)
    code = runner.wait(25)

    said = (slow_laptop.home / "runner.log").read_text()
    assert code == 75
    assert "vlm-runner resume cats" in said
    assert "delete-provisioned-model-throughput" in said
    assert re.search(r"it costs \$[\d.]+ an hour", said)


def test_the_second_interrupt_leaves_at_once_and_names_what_bills(slow_laptop: Laptop, pages: Path) -> None:
    """While the first is waiting for an answer of AWS's that does not come."""
    runner = warming(slow_laptop, pages)
    slow_laptop.ask(
        "faults",
        [{"kind": "slow", "seconds": 60, "operation": "GetProvisionedModelThroughput", "times": None}],
    )

    for _ in range(2):
        runner.send_signal(signal.SIGINT)
    code = runner.wait(10)

    said = (slow_laptop.home / "runner.log").read_text()
    assert code in {75, 130}  # the first may have been quicker
    assert "vlm-runner resume cats" in said
    assert "delete-provisioned-model-throughput" in said


def test_a_killed_runner_that_nobody_resumes_is_outlived_by_its_switch(
    slow_laptop: Laptop, pages: Path
) -> None:
    """kill -9 while it bills: AWS deletes the endpoint, and then the schedule itself."""
    laptop = slow_laptop
    switch = f'dead_man_switch = {{ after = "12h", role_arn = "{SWITCH_ROLE}" }}'
    runner = warming(laptop, pages, serving=f'mode = "provisioned"\n{switch}')
    scheduler = laptop.boto("scheduler")
    runner.kill()
    runner.wait(10)

    laptop.ask("clock", {"advance_seconds": 13 * HOUR})

    assert not laptop.paid("provisioned_throughput")[0]["still_billing"]
    assert scheduler.list_schedules()["Schedules"] == []
    status = laptop.cli("status", "cats")
    assert "its dead man's switch deletes it at" in status.stdout
