"""The command line at a terminal of its own, in this process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import sys
import termios
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest import mock

import structlog

from vlm_runner.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class Screen:
    """What a command wrote, both streams together, as a terminal got it."""

    code: int = 0
    raw: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        return self.raw.decode().replace("\r\n", "\n")


def at_terminal(
    *words: str,
    answer: str = "",
    columns: int = 80,
    environment: Mapping[str, str] | None = None,
    started_as: str = "vlm-runner",
) -> Screen:
    """Run a command to its end; `answer` is what is typed, in advance."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    screen = Screen()

    def read() -> None:
        with contextlib.suppress(OSError):  # the last writer has closed it
            while chunk := os.read(ours, 65536):
                screen.raw.extend(chunk)

    reading = threading.Thread(target=read)
    reading.start()
    os.write(ours, answer.encode())
    changes = {"TERM": "xterm-256color", "COLUMNS": str(columns), **(environment or {})}
    with (
        os.fdopen(theirs, "r+b", buffering=0, closefd=True) as raw,
        os.fdopen(os.dup(raw.fileno()), "w", buffering=1) as out,
        os.fdopen(os.dup(raw.fileno())) as typed,
        mock.patch.dict(os.environ, changes),
        mock.patch.object(sys, "argv", [started_as, *words]),
        mock.patch.object(sys, "stdin", typed),
        mock.patch.object(sys, "stdout", out),
        mock.patch.object(sys, "stderr", out),
    ):
        try:
            main()
        except SystemExit as end:
            screen.code = end.code if isinstance(end.code, int) else 1
        finally:
            structlog.reset_defaults()
    reading.join(10)
    os.close(ours)
    return screen
