"""What cannot be shown any more does not end a run."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
import structlog

from vlm_runner.cli import console
from vlm_runner.cli.streams import unfailing
from vlm_runner.watch.log import configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator
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
