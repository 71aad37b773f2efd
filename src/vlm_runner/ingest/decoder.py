"""The other side of `vlm_runner.ingest.converters`: a process that decodes images, and little else."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
from multiprocessing.connection import Connection
from typing import Final

from vlm_runner.ingest.images import MAX_SOURCE_BYTES, ImageLimits, UnusableImage, convert_here

READY: Final = b"ready"
MEMORY_BYTES: Final = 4 * 1024**3
"""Of address space for one process; the largest image that is taken needs some 1.5 GB."""


def serve(descriptor: int, shared: int) -> None:
    """
    Answer until whoever asks is gone.

    Questions and answers go through the socket `descriptor`, images both ways through the file `shared`.
    """
    import numpy as np  # noqa: F401, PLC0415 - before there is anything to wait for
    from PIL import Image  # noqa: PLC0415

    from vlm_runner.ingest import png  # noqa: F401, PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, MAX_SOURCE_BYTES)
    Image.preinit()
    with contextlib.suppress(EOFError, OSError), Connection(descriptor) as connection:
        connection.send_bytes(READY)
        while True:
            asked = json.loads(connection.recv_bytes())
            connection.send_bytes(json.dumps(_answer(asked, shared)).encode())


def _answer(asked: dict[str, object], shared: int) -> dict[str, object]:
    body = read(shared, int(str(asked.pop("size"))))
    keep_format, fit = bool(asked.pop("keep_format")), bool(asked.pop("fit"))
    limits = ImageLimits(**asked)  # type: ignore[arg-type]  # as `Converters` wrote it
    try:
        made = convert_here(body, limits, keep_format=keep_format, fit=fit)
    except UnusableImage as error:
        return {"reason": str(error), "hint": error.hint}
    if made.body is not body:
        write(shared, made.body)
    return {
        "format": made.format,
        "width": made.width,
        "height": made.height,
        "way": made.way,
        "size": len(made.body),
    }


def write(shared: int, body: bytes) -> None:
    """Put `body` at the file's beginning. Raises OSError where it does not fit."""
    if os.pwrite(shared, body, 0) != len(body):
        raise OSError(f"{len(body)} bytes do not fit")


def read(shared: int, size: int) -> bytes:
    """The first `size` bytes. Raises EOFError if there are fewer: the other side is not to be trusted."""
    body = os.pread(shared, size, 0)
    if len(body) != size:
        raise EOFError
    return body


def _limit(what: int, most: int) -> None:
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (most, most))
