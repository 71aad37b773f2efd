"""Process 1 of a container, and how it comes to be stopped in the phase that a test is about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.laptop import until

if TYPE_CHECKING:
    from collections.abc import Callable

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


class Container:
    """The runner as process 1, with nothing between it and the signal."""

    def __init__(self, outer: subprocess.Popen[bytes]) -> None:
        self.outer = outer

    @property
    def pid(self) -> int:
        raise NotImplementedError

    def terminate(self) -> tuple[int, float]:
        """The exit code, and the seconds until it was there."""
        began = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        return self.outer.wait(IN_TIME), time.monotonic() - began

    def end(self) -> None:
        if self.outer.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.outer.wait(10)


class Namespace(Container):
    """No container but for what makes process 1 special: a PID namespace."""

    def __init__(self, laptop: Laptop, *words: str) -> None:
        environment = laptop.environment | {"VLM_RUNNER_HEARTBEAT_FILE": str(laptop.home / "heartbeat")}
        command = ["unshare", "-fp", "--mount-proc", sys.executable, "-m", "vlm_runner", *words]
        super().__init__(logged(laptop, command, env=environment))

    @property
    def pid(self) -> int:
        pid = self.outer.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        until(children.read_text, "the process to be forked", 10)
        return int(children.read_text().split()[0])


def logged(laptop: Laptop, command: list[str], **more: Any) -> subprocess.Popen[bytes]:
    with (laptop.home / "runner.log").open("ab") as log:
        return subprocess.Popen(command, cwd=laptop.home, stdout=log, stderr=log, **more)


def reach(laptop: Laptop, phase: str, start: Callable[[], Container]) -> Container:
    """What `start` gives, once its run 'cats' is in this phase and will be for a while."""
    if phase in SLOW:
        laptop.ask("faults", [{"kind": "slow", "seconds": 3, "times": None, **SLOW[phase]}])
    if phase not in {"training", "warming"}:
        laptop.ask("clock", {"speed": 7200})
    container = start()
    if phase == "warming":
        laptop.await_phase("cats", "training", container.outer)
        laptop.ask("clock", {"advance_seconds": 10 * HOUR})
    laptop.await_phase("cats", phase, container.outer)
    return container


def assert_left_resumable(laptop: Laptop, phase: str) -> None:
    said = (laptop.home / "runner.log").read_text()
    # A run that is just being made is not driven yet: then starting it again is the way on.
    assert "vlm-runner resume cats" in said or (phase == "staging" and "same command again" in said)
    # Nobody drives it, so that the next need not wait.
    assert laptop.checkpoint("cats")["holder"] is None
    laptop.ask("faults", method="DELETE")
    laptop.ask("clock", {"speed": 7200})
