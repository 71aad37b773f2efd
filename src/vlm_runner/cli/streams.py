"""stdout and stderr of a process that drives runs: what cannot be shown any more must not end a run."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def unfailing() -> Iterator[None]:
    """
    Let what is written to stderr fail silently: its terminal or reader is gone, or its disk is full.

    On stdout, where results go, only a terminal that was closed is passed over.
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
        closed = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(self._stream.fileno()).st_mode)
        if not (closed or self._messages):
            raise error
        if closed or isinstance(error, BrokenPipeError):
            # It does not come back, and the interpreter must not complain when it flushes.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
