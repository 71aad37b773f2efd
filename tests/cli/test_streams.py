"""What cannot be shown any more does not end a run."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING
from unittest import mock

import pytest
import structlog

from tests.histories import happy_runs
from vlm_runner.cli import cli, console, main
from vlm_runner.cli.foreground import DriveResult, conclude
from vlm_runner.cli.streams import unfailing
from vlm_runner.core.run import Phase
from vlm_runner.errors import AccessDenied
from vlm_runner.settings import Settings
from vlm_runner.watch.log import configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO


@pytest.fixture(params=["full disk", "broken pipe"])
def useless(request: pytest.FixtureRequest) -> Iterator[TextIO]:
    """A stream whose every write fails."""
    if request.param == "full disk":
        out = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, out = os.pipe()
        os.close(reader)
    stream = os.fdopen(out, "w", buffering=1)
    yield stream
    os.dup2(os.open(os.devnull, os.O_WRONLY), out)
    stream.close()


def test_messages_are_lost_and_nothing_else(useless: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", useless)
    console.say("It is lost.")
    with pytest.raises(OSError, match=r"pipe|space"):
        sys.stderr.write("It is lost.\n")

    with unfailing():
        configure_logging("json")
        for _ in range(10_000):
            console.say("It is lost.")
            structlog.get_logger().info("lost")
    structlog.reset_defaults()


def test_a_result_that_cannot_be_written_is_an_error(
    useless: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", useless)

    with unfailing(), pytest.raises(OSError, match=r"pipe|space"):
        console.result("It is lost.")


def test_what_can_be_shown_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with unfailing():
        console.say("A message.")
        console.result("A result.")

    assert capsys.readouterr() == ("A result.\n", "A message.\n")


CLOSED = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-", "all three": "<&- >&- 2>&-"}


def typed(line: str) -> subprocess.CompletedProcess[str]:
    """A real process: Python has None for a stream that was closed."""
    command = f'"{sys.executable}" -m vlm_runner {line}'
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("closed", CLOSED.values(), ids=CLOSED)
def test_a_stream_that_was_closed_ends_no_command(closed: str, tmp_path: Path) -> None:
    told = typed(f"list --store {tmp_path} {closed}")

    assert told.returncode == 0
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("words", ["--help", "completion bash"])
def test_a_full_disk_under_stdout_is_one_sentence(words: str) -> None:
    told = typed(f"{words} >/dev/full")

    assert told.returncode == 1
    assert told.stderr == "vlm-runner: The result could not be written to stdout: No space left on device.\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reader, out = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "vlm_runner", "completion", "bash"]
    told = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(out)

    assert (told.returncode, told.stderr) == (0, "")


def test_a_result_that_cannot_be_written_does_not_hide_what_bills(
    useless: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run, *_) = [run for run, _ in happy_runs() if run.phase is Phase.RELEASING]
    monkeypatch.setattr(sys, "stdout", useless)
    ended = DriveResult(run, AccessDenied("No."), "here", timed_out=False)

    with unfailing():
        code = conclude(ended, Settings(), as_json=True, flags=[])

    assert code == 104


def test_a_machine_without_more_files_can_go_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "main", mock.Mock(side_effect=OSError(errno.EMFILE, "Too many open files")))

    with pytest.raises(SystemExit) as end:
        main()

    assert end.value.code == 75


def test_a_spec_that_cannot_be_written_is_one_sentence() -> None:
    told = typed("init /proc/nowhere/run.toml --sample")

    assert told.returncode == 2
    assert told.stderr.startswith("vlm-runner: /proc/nowhere/run.toml cannot be written: ")
    assert told.stderr.count("\n") == 1
