"""stdin, stdout and stderr: what cannot be shown any more must not end a run, nor hide how it ended."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator


class Unwritten(OSError):
    """A result does not reach stdout: its reader is gone, or its disk is full."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause.strerror)  # without a number: click ends a program with 1 for EPIPE
        self.reader_gone = isinstance(cause, BrokenPipeError)


def open_closed_streams() -> None:
    """
    In place of a stream that was closed (`>&-`) one that leads nowhere.

    Python has None there, and the next file or connection would get its number, and what a library prints.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number and not _is_open(number):
            os.dup2(nowhere, number)
            os.close(nowhere)
            nowhere = number
        setattr(sys, name, os.fdopen(nowhere, "w" if number else "r"))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def forget_stdout() -> None:
    """The interpreter must not complain when it flushes what nobody reads."""
    _lead_nowhere(sys.stdout.fileno())


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


@contextmanager
def unfailing() -> Iterator[None]:
    """
    Let what is written to stderr fail silently: its terminal or reader is gone, or its disk is full.

    On stdout, where results go, only a terminal that was closed is passed over; all else raises Unwritten.
    """
    out, err = sys.stdout, sys.stderr
    sys.stdout = cast("TextIO", _Stream(out, messages=False))
    sys.stderr = cast("TextIO", _Stream(err, messages=True))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


class _Stream:
    def __init__(self, stream: TextIO, *, messages: bool) -> None:
        self._stream, self._messages = stream, messages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if isinstance(error, Unwritten):  # of one around this one
            raise error
        closed = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(self._stream.fileno()).st_mode)
        if not (closed or self._messages):
            raise Unwritten(error) from error
        if closed or isinstance(error, BrokenPipeError):
            # It does not come back, and the interpreter must not complain when it flushes.
            _lead_nowhere(self._stream.fileno())
