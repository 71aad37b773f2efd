"""Real processes, really killed; the sandbox's ledger is the judge."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .laptop import Laptop


def test_a_run_killed_in_training_is_resumed_and_pays_once(slow_laptop: Laptop, pages: Path) -> None:
    laptop = slow_laptop
    runner = laptop.cli_in_background("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")
    laptop.await_phase("cats", "training", runner)
    runner.send_signal(signal.SIGKILL)
    runner.wait(10)
    laptop.ask("clock", {"speed": 7200})

    resumed = laptop.cli("resume", "cats")

    assert resumed.returncode == 0, resumed.stderr
    assert "Run cats succeeded in" in resumed.stdout
    laptop.assert_paid_once_and_over()


@pytest.mark.parametrize("phase", ["training", "warming"])
def test_sigterm_stops_resumably_and_says_how_to_go_on(slow_laptop: Laptop, pages: Path, phase: str) -> None:
    laptop = slow_laptop
    runner = laptop.cli_in_background("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")
    laptop.await_phase("cats", "training", runner)
    if phase == "warming":
        laptop.ask("clock", {"advance_seconds": 86400})
        laptop.await_phase("cats", "warming", runner)

    runner.send_signal(signal.SIGTERM)

    assert runner.wait(25) == 75
    said = (laptop.home / "runner.log").read_text()
    assert "vlm-runner resume cats" in said
    assert ("SOMETHING MAY STILL BILL" in said) == (phase == "warming")
    assert laptop.status("cats")["state"] == "STOPPED"
    laptop.ask("clock", {"speed": 7200})
    assert laptop.cli("resume", "cats").returncode == 0
    laptop.assert_paid_once_and_over()


@pytest.mark.parametrize("phase", ["training", "warming"])
def test_cancel_from_elsewhere_stops_what_is_paid(slow_laptop: Laptop, pages: Path, phase: str) -> None:
    """
    The process that drives the run obeys the mark of another; a throughput that is still Creating is
    deleted when it can be.
    """
    laptop = slow_laptop
    runner = laptop.cli_in_background("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")
    laptop.await_phase("cats", "training", runner)
    if phase == "warming":
        laptop.ask("clock", {"advance_seconds": 86400})
        laptop.await_phase("cats", "warming", runner)

    assert laptop.cli("cancel", "cats", "--detach").returncode == 0
    laptop.ask("clock", {"speed": 7200})

    assert runner.wait(30) == 103
    status = laptop.status("cats")
    assert status["outcome"] == "cancelled"
    assert status["may_bill"] == []
    assert not any(entry["still_billing"] for entry in laptop.paid("provisioned_throughput"))
    if phase == "training":
        (job,) = laptop.paid("customization_job")
        assert job["status"] == "Stopped"


def test_cancel_drives_an_abandoned_run_to_its_release(slow_laptop: Laptop, pages: Path) -> None:
    laptop = slow_laptop
    runner = laptop.cli_in_background("start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")
    laptop.await_phase("cats", "training", runner)
    runner.send_signal(signal.SIGKILL)
    runner.wait(10)
    laptop.ask("clock", {"speed": 7200})

    cancelled = laptop.cli("cancel", "cats", "--reason", "wrong split")

    assert cancelled.returncode == 103, cancelled.stderr
    assert laptop.paid("provisioned_throughput") == []
