"""The terminal is closed while a run is driven: a real process, a real terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from vlm_runner.cli.exit_codes import STOPPED

from .laptop import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .laptop import Laptop

VLM_RUNNER = (sys.executable, "-m", "vlm_runner")
NOHUP = ("sh", "-c", "trap '' HUP; exec \"$@\"", "sh")
"""As nohup does, but for the streams, which stay the terminal's."""


@pytest.fixture(autouse=True)
def hang_ups_are_heard() -> Iterator[None]:
    """Also where the tests themselves run under nohup, whose programs ignore them too."""
    usual = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, usual)


class Terminal:
    """One that its programs write to until it is closed."""

    def __init__(self) -> None:
        self._ours, self._theirs = pty.openpty()
        self._name = os.ttyname(self._theirs)
        self.shown = bytearray()
        self._closing, self._closed = os.pipe()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def begin(self, laptop: Laptop, *words: str) -> subprocess.Popen[bytes]:
        """A program whose controlling terminal this is: a session leader's first one becomes it."""
        opened = ["sh", "-c", 'exec <"$0" >"$0" 2>"$0" && exec "$@"', self._name, *words]
        runner = subprocess.Popen(opened, env=laptop.environment, cwd=laptop.home, start_new_session=True)
        laptop.runners.append(runner)
        return runner

    def close(self) -> None:
        os.close(self._closed)
        self._reading.join(5)
        for end in (self._theirs, self._ours, self._closing):
            os.close(end)

    def _read(self) -> None:
        while self._closing not in (ready := select.select([self._ours, self._closing], [], [])[0]):
            with contextlib.suppress(OSError):
                self.shown += os.read(ready[0], 65536)


def in_training(
    laptop: Laptop, pages: Path, terminal: Terminal, command: Sequence[str]
) -> subprocess.Popen[bytes]:
    runner = terminal.begin(laptop, *command, "start", str(laptop.spec(pages)), "--yes", "--run-id", "cats")
    until(
        lambda: laptop.phase("cats") == "training" or runner.poll() is not None,
        "the training",
    )
    assert runner.poll() is None, terminal.shown.decode()
    return runner


def test_a_closed_terminal_stops_the_run_as_sigterm_does(slow_laptop: Laptop, pages: Path) -> None:
    terminal = Terminal()
    runner = in_training(slow_laptop, pages, terminal, VLM_RUNNER)

    terminal.close()

    assert runner.wait(60) == STOPPED
    assert slow_laptop.status("cats")["state"] == "STOPPED"
    slow_laptop.ask("clock", {"speed": 7200})
    assert slow_laptop.cli("resume", "cats").returncode == 0
    slow_laptop.assert_paid_once_and_over()


def test_a_hang_up_sent_by_hand_says_how_to_go_on(slow_laptop: Laptop, pages: Path) -> None:
    terminal = Terminal()
    runner = in_training(slow_laptop, pages, terminal, VLM_RUNNER)

    runner.send_signal(signal.SIGHUP)

    assert runner.wait(60) == STOPPED
    until(lambda: b"resume cats" in terminal.shown, "the last word")
    terminal.close()


def test_who_ignores_hang_ups_drives_on(slow_laptop: Laptop, pages: Path) -> None:
    """Though nothing that it says can be shown any more."""
    terminal = Terminal()
    runner = in_training(slow_laptop, pages, terminal, (*NOHUP, *VLM_RUNNER))

    runner.send_signal(signal.SIGHUP)
    terminal.close()
    slow_laptop.ask("clock", {"speed": 7200})

    assert runner.wait(60) == 0
    slow_laptop.assert_paid_once_and_over()
