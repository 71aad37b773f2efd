"""A container is asked to stop: process 1 of its own PID namespace, a real SIGTERM, in every phase."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.laptop import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.laptop import Laptop

HOUR = 3600
IN_TIME = 30
"""Seconds: the stopTimeout that ECS has by default."""

SLOW: dict[str, dict[str, Any]] = {
    "staging": {"operation": "PutObject", "key_contains": "images/"},
    "recording": {"operation": "*", "key_contains": "data/train.jsonl"},
    "submitting": {"operation": "CreateModelCustomizationJob"},
    "requesting": {"operation": "CreateProvisionedModelThroughput"},
    "testing": {"operation": "Converse"},
    "releasing": {"operation": "DeleteProvisionedModelThroughput"},
    "reporting": {"operation": "PutObject", "key_contains": "report"},
}
"""What is made slow so that a phase lasts long enough to be stopped in; the others wait by themselves."""


def can_be_process_1() -> bool:
    tool = shutil.which("unshare")
    return tool is not None and subprocess.run([tool, "-fp", "--mount-proc", "true"]).returncode == 0


class Container:
    """The runner as process 1, with nothing between it and the signal."""

    def __init__(self, laptop: Laptop, *words: str) -> None:
        self.laptop = laptop
        with (laptop.home / "runner.log").open("ab") as log:
            self.outer = subprocess.Popen(
                ["unshare", "-fp", "--mount-proc", sys.executable, "-m", "vlm_runner", *words],
                env=laptop.environment | {"VLM_RUNNER_HEARTBEAT_FILE": str(laptop.home / "heartbeat")},
                cwd=laptop.home,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        pid = self.outer.pid
        until(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text(), "the process to be forked", 10)
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def terminate(self) -> tuple[int, float]:
        """The exit code, and the seconds until it was there."""
        began = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        return self.outer.wait(IN_TIME), time.monotonic() - began

    def end(self) -> None:
        if self.outer.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.outer.wait(10)


@pytest.fixture
def containers() -> Iterator[list[Container]]:
    started: list[Container] = []
    yield started
    for container in started:
        container.end()


@pytest.mark.skipif(not can_be_process_1(), reason="needs the right to make a PID namespace")
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
    if phase in SLOW:
        laptop.ask("faults", [{"kind": "slow", "seconds": 3, "times": None, **SLOW[phase]}])
    if phase not in {"training", "warming"}:
        laptop.ask("clock", {"speed": 7200})
    container = Container(laptop, "start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")
    containers.append(container)
    if phase == "warming":
        laptop.await_phase("cats", "training", container.outer)
        laptop.ask("clock", {"advance_seconds": 10 * HOUR})
    laptop.await_phase("cats", phase, container.outer)

    code, seconds = container.terminate()

    assert (code, seconds < IN_TIME) == (75, True), (laptop.home / "runner.log").read_text()
    said = (laptop.home / "runner.log").read_text()
    # A run that is just being made is not driven yet: then starting it again is the way on.
    assert "vlm-runner resume cats" in said or (phase == "staging" and "same command again" in said)
    assert holder(laptop) is None
    laptop.ask("faults", method="DELETE")
    laptop.ask("clock", {"speed": 7200})
    assert laptop.here("resume", "cats").returncode == 0
    laptop.assert_paid_once_and_over()


@pytest.mark.skipif(not can_be_process_1(), reason="needs the right to make a PID namespace")
def test_process_1_can_be_stopped_before_there_is_a_run(
    slow_laptop: Laptop, pages: Path, containers: list[Container]
) -> None:
    laptop = slow_laptop
    laptop.ask("faults", [{"kind": "slow", "seconds": 20, "operation": "GetCallerIdentity", "times": None}])
    container = Container(laptop, "start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")
    containers.append(container)
    # What is under a fault is recorded only at its end; the process has begun when it has its heartbeat.
    until((laptop.home / "heartbeat").exists, "the runner to begin", 20)

    code, seconds = container.terminate()

    assert code == 75, (laptop.home / "runner.log").read_text()
    assert seconds < IN_TIME
    assert laptop.paid("customization_job") == []


def holder(laptop: Laptop) -> Any:
    """Whoever drives the run; None once that is given up, so that the next need not wait."""
    return json.loads((laptop.home / "store/runs/cats/state.json").read_text())["holder"]
