"""Walking away: a detached start, and what reaches its run again."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from vlm_runner.cli.detached import begin_detached
from vlm_runner.cli.options import Where
from vlm_runner.settings import Settings

from .laptop import until

if TYPE_CHECKING:
    from pathlib import Path

    from .laptop import Laptop


def test_a_detached_start_takes_the_region_of_its_spec_with_it(laptop: Laptop, pages: Path) -> None:
    """The store is in S3, and only the spec knows the region."""
    laptop.boto("s3").create_bucket(Bucket="checkpoints-of-cats")
    store = ("--store", "s3://checkpoints-of-cats/v")

    started = laptop.cli(
        "start", str(laptop.spec(pages)), "--yes", "--no-lint", "--detach", "--run-id", "cats", *store
    )

    assert started.returncode == 0, started.stderr
    assert "continues in the background" in started.stderr
    assert "vlm-runner status cats --region us-east-1 --store s3://checkpoints-of-cats/v" in started.stderr

    def done() -> bool:
        status = laptop.here("status", "cats", "--region", "us-east-1", *store)
        return status.returncode == 0

    until(done, "the detached run to end")
    laptop.assert_paid_once_and_over()


def test_a_detached_start_says_why_its_process_did_not_begin(laptop: Laptop, pages: Path) -> None:
    created = laptop.here(
        "start", str(laptop.spec(pages)), "--yes", "--no-lint", "--run-id", "cats", "--timeout", "0s"
    )
    assert created.returncode == 101, created.stderr
    settings = Settings(checkpoint_uri=str(laptop.home / "store"), endpoint_url=laptop.url)

    code, said, log = begin_detached(settings, "cats", ["--no-such-flag"])

    assert code == 2
    assert "ended" in said
    assert "No such option" in said
    assert log.exists()


@pytest.mark.parametrize(
    ("settings", "where", "words"),
    [
        (Settings(), Where(None, None, None, None), []),
        (Settings(region="us-east-1"), Where(None, None, None, None), []),
        (
            Settings(region="us-east-1", checkpoint_uri="s3://b/p"),
            Where(None, None, None, "s3://b/p"),
            ["--region", "us-east-1", "--store", "s3://b/p"],
        ),
        (
            Settings(region="eu-west-1"),
            Where("me", "eu-west-1", "http://127.0.0.1:1", "runs"),
            [
                "--profile",
                "me",
                "--region",
                "eu-west-1",
                "--endpoint-url",
                "http://127.0.0.1:1",
                "--store",
                "runs",
            ],
        ),
    ],
    ids=range(4),
)
def test_the_resume_line_has_every_flag_that_reaches_the_run(
    settings: Settings, where: Where, words: list[str]
) -> None:
    assert where.repeated(settings) == words


def test_a_second_interrupt_names_the_store_too(slow_laptop: Laptop, pages: Path) -> None:
    store = str(slow_laptop.home / "store")
    runner = slow_laptop.cli_in_background(
        "start", str(slow_laptop.spec(pages)), "--yes", "--run-id", "cats", "--store", store
    )
    slow_laptop.await_phase("cats", "training", runner)
    slow_laptop.ask(
        "faults",
        [{"kind": "slow", "seconds": 60, "operation": "GetModelCustomizationJob", "times": None}],
    )

    for _ in range(2):
        runner.send_signal(signal.SIGINT)
    runner.wait(10)

    assert f"vlm-runner resume cats --store {store}" in (slow_laptop.home / "runner.log").read_text()


def test_an_interrupt_at_the_question_ends_the_command(laptop: Laptop, pages: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "vlm_runner", "start", str(laptop.spec(pages)), "--run-id", "cats"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=laptop.environment, cwd=laptop.home
    )
    os.close(theirs)
    try:
        said, deadline = b"", time.monotonic() + 60
        while b"Start it?" not in said and time.monotonic() < deadline:
            said += os.read(ours, 65536)

        process.send_signal(signal.SIGINT)
        code = process.wait(15)
    finally:
        process.kill()
        process.wait(15)
        os.close(ours)

    assert b"Start it?" in said
    assert code == 75
    assert laptop.paid("customization_job") == []
    assert laptop.here("status", "cats").returncode == 102
