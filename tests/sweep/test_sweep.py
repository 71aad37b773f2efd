"""Sweeps on the sandbox: the ledger and the calls are the judges."""

from __future__ import annotations

import json
import signal
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.e2e.laptop import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.laptop import Laptop

SIX = """
"training.hyperparameters.learningRate" = [0.00001, 0.00005]
"training.hyperparameters.epochCount" = [1, 2, 3]
"""


def sweep_file(laptop: Laptop, pages: Path, *lines: str, grid: str = SIX) -> str:
    laptop.spec(pages, "base.toml", test="rows = 1")
    path = laptop.home / "sweep.toml"
    path.write_text("\n".join(['spec = "base.toml"', 'name = "six"', *lines, "[grid]", grid]))
    return str(path)


def image_uploads(laptop: Laptop) -> Counter[str]:
    calls = laptop.ask("calls")["recent"]
    return Counter(
        call["path"] for call in calls if call["operation"] == "PutObject" and "/images/" in call["path"]
    )


def overlapping(laptop: Laptop, kind: str) -> int:
    """How many of a kind there were at one time, at most."""
    marks: list[tuple[datetime, int]] = []
    for entry in laptop.paid(kind):
        marks.append((datetime.fromisoformat(entry["created_at"]), 1))
        if entry["ended_at"]:
            marks.append((datetime.fromisoformat(entry["ended_at"]), -1))
    most = now = 0
    for _, change in sorted(marks):
        now += change
        most = max(most, now)
    return most


@pytest.mark.long
@pytest.mark.timeout(240)
def test_six_runs_upload_each_image_once_and_take_turns(laptop: Laptop, pages: Path) -> None:
    done = laptop.here("sweep", sweep_file(laptop, pages), "--yes", "--json")

    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["outcome"] for row in rows] == ["succeeded"] * 6
    losses = [row["validation_loss"] for row in rows]
    assert losses == sorted(losses)
    assert len(laptop.paid("customization_job")) == 6
    assert len(laptop.paid("provisioned_throughput")) == 6
    assert overlapping(laptop, "customization_job") <= 2
    assert overlapping(laptop, "provisioned_throughput") == 1
    uploads = image_uploads(laptop)
    assert len(uploads) == 16
    assert set(uploads.values()) == {1}
    refused = [key for key in laptop.ask("calls")["by_status"] if key.startswith("CreateModelCust")]
    assert refused == ["CreateModelCustomizationJob 201"]


@pytest.mark.timeout(240)
def test_a_full_quota_is_waited_for(laptop: Laptop, pages: Path) -> None:
    laptop.ask(
        "faults",
        [
            {
                "operation": "CreateModelCustomizationJob",
                "kind": "error",
                "code": "ServiceQuotaExceededException",
                "message": "You have exceeded the limit of 2 running customization jobs.",
                "times": 2,
            }
        ],
    )
    grid = '"training.hyperparameters.epochCount" = [1, 2]'

    done = laptop.here("sweep", sweep_file(laptop, pages, grid=grid), "--yes", "--json")

    assert done.returncode == 0, done.stderr
    assert len(laptop.paid("customization_job")) == 2
    assert "sweep.waits_for_quota" in done.stderr


@pytest.mark.timeout(240)
def test_without_patience_a_full_quota_halts_its_run_and_no_other(laptop: Laptop, pages: Path) -> None:
    laptop.ask(
        "faults",
        [
            {
                "operation": "CreateModelCustomizationJob",
                "kind": "error",
                "code": "ServiceQuotaExceededException",
            }
        ],
    )
    grid = '"training.hyperparameters.epochCount" = [1, 2]'

    done = laptop.here("sweep", sweep_file(laptop, pages, 'patience = "0s"', grid=grid), "--yes", "--json")

    assert done.returncode == 75
    assert sorted(row["outcome"] for row in json.loads(done.stdout)) == ["not finished", "succeeded"]


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_sweep_that_was_killed_goes_on_and_pays_for_nothing_twice(laptop: Laptop, pages: Path) -> None:
    file = sweep_file(laptop, pages)
    runner = laptop.cli_in_background("sweep", file, "--yes")
    until(lambda: len(laptop.paid("customization_job")) >= 3, "three jobs", 60)
    runner.send_signal(signal.SIGKILL)
    runner.wait(10)

    done = laptop.here("sweep", file, "--yes", "--json")

    assert done.returncode == 0, done.stderr
    assert len(laptop.paid("customization_job")) == 6
    assert len(laptop.paid("provisioned_throughput")) == 6
    assert overlapping(laptop, "customization_job") <= 2
    assert overlapping(laptop, "provisioned_throughput") == 1
    assert set(image_uploads(laptop).values()) == {1}
    assert not any(entry["still_billing"] for entry in laptop.paid("provisioned_throughput"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_sweep_stops_in_order_and_says_how_to_go_on(
    slow_laptop: Laptop, pages: Path, number: signal.Signals
) -> None:
    laptop = slow_laptop
    runner = laptop.cli_in_background("sweep", sweep_file(laptop, pages), "--yes")
    until(lambda: len(laptop.paid("customization_job")) == 2, "two jobs", 60)

    runner.send_signal(number)

    assert runner.wait(30) == 75
    assert len(laptop.paid("customization_job")) == 2


def test_a_dry_run_lists_and_touches_nothing(laptop: Laptop, pages: Path) -> None:
    done = laptop.here("sweep", sweep_file(laptop, pages), "--dry-run")

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 6
    assert laptop.ask("calls")["counts"] == {}


def test_runs_of_which_one_fails_are_compared_all_the_same(laptop: Laptop, pages: Path) -> None:
    laptop.ask("scenario", {"fail_next_job": "Diverged."})
    grid = '"training.hyperparameters.epochCount" = [1, 2]'

    done = laptop.here("sweep", sweep_file(laptop, pages, grid=grid), "--yes")

    assert done.returncode == 100
    table = done.stdout.splitlines()
    assert table[0].split() == ["RUN", "epochCount", "OUTCOME", "COST", "TRAIN", "VALIDATION"]
    assert {line.split()[2] for line in table[1:]} == {"succeeded", "failed"}
    assert {line.split()[3] for line in table[1:]} == {"about"}
    assert "2 runs have cost about $" in done.stderr
