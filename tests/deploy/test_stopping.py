"""A container is asked to stop: process 1 of its own PID namespace, a real SIGTERM, in every phase."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.deploy.containers import IN_TIME, Container, Namespace, assert_left_resumable, reach
from tests.e2e.laptop import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.laptop import Laptop


def can_be_process_1() -> bool:
    tool = shutil.which("unshare")
    return tool is not None and subprocess.run([tool, "-fp", "--mount-proc", "true"]).returncode == 0


pytestmark = pytest.mark.skipif(not can_be_process_1(), reason="needs the right to make a PID namespace")


@pytest.mark.parametrize(
    "phase",
    [
        pytest.param("staging", marks=pytest.mark.long),
        pytest.param("recording", marks=pytest.mark.long),
        "submitting",
        "training",
        pytest.param("requesting", marks=pytest.mark.long),
        pytest.param("warming", marks=pytest.mark.long),
        "testing",
        pytest.param("releasing", marks=pytest.mark.long),
        pytest.param("reporting", marks=pytest.mark.long),
    ],
)
def test_process_1_stops_in_time_and_resumably(
    slow_laptop: Laptop, pages: Path, containers: list[Container], phase: str
) -> None:
    laptop = slow_laptop
    words = ("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")

    def start() -> Container:
        containers.append(Namespace(laptop, *words))
        return containers[-1]

    code, seconds = reach(laptop, phase, start).terminate()

    assert (code, seconds < IN_TIME) == (75, True), (laptop.home / "runner.log").read_text()
    assert_left_resumable(laptop, phase)
    assert laptop.here("resume", "cats").returncode == 0
    laptop.assert_paid_once_and_over()


def test_process_1_can_be_stopped_before_there_is_a_run(
    slow_laptop: Laptop, pages: Path, containers: list[Container]
) -> None:
    laptop = slow_laptop
    laptop.ask("faults", [{"kind": "slow", "seconds": 20, "operation": "GetCallerIdentity", "times": None}])
    container = Namespace(laptop, "start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")
    containers.append(container)
    # What is under a fault is recorded only at its end; the process has begun when it has its heartbeat.
    until((laptop.home / "heartbeat").exists, "the runner to begin", 20)

    code, seconds = container.terminate()

    assert code == 75, (laptop.home / "runner.log").read_text()
    assert seconds < IN_TIME
    assert laptop.paid("customization_job") == []
