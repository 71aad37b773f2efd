"""The other side of `vlm_runner.ingest.converters`: a process that decodes images, and little else."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import time
from functools import cache
from typing import Any, Final

from vlm_runner.image_limits import MAX_SOURCE_BYTES, READABLE
from vlm_runner.ingest.images import ImageLimits, convert_here
from vlm_runner.ingest.inspect import ImageDefect

READY: Final = "ready"
LONGEST_MESSAGE: Final = 64 * 1024
MEMORY_BYTES: Final = 4 * 1024**3
"""Of address space for one process; the largest image that is taken needs some 1.5 GB."""


def serve(descriptor: int, shared: int) -> None:
    """
    Answer until the asking process is gone.

    Questions and answers go through the socket `descriptor`, images both ways through the file `shared`.
    """
    import numpy as np  # noqa: F401, PLC0415 - before there is anything to wait for
    from PIL import Image  # noqa: PLC0415

    from vlm_runner.ingest import png  # noqa: F401, PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, MAX_SOURCE_BYTES)
    Image.preinit()
    with contextlib.suppress(EOFError, OSError), socket.socket(fileno=descriptor) as channel:
        send(channel, {READY: True})
        while True:
            send(channel, _answer(receive(channel), shared))


def _answer(asked: dict[str, Any], shared: int) -> dict[str, object]:
    body = read(shared, asked.pop("size"))
    keep_format, fit = asked.pop("keep_format"), asked.pop("fit")
    limits = ImageLimits(**asked)
    try:
        made = convert_here(body, limits, keep_format=keep_format, fit=fit, formats=_formats())
    except ImageDefect as error:
        return {"code": error.code, "reason": str(error), "hint": error.hint}
    if made.body is not body:
        write(shared, made.body)
    return {
        "format": made.format,
        "width": made.width,
        "height": made.height,
        "way": made.way,
        "frames": made.frames,
        "size": len(made.body),
    }


@cache
def _formats() -> tuple[str, ...]:
    """What this process decodes, and no other: those formats too that are only read to be converted."""
    from PIL import AvifImagePlugin, IcoImagePlugin, Jpeg2KImagePlugin, TiffImagePlugin  # noqa: F401, PLC0415

    formats = (*READABLE, "BMP", "TIFF", "AVIF", "JPEG2000", "ICO", "PPM")
    try:
        import pillow_heif  # noqa: PLC0415 - an extra
    except ImportError:
        return formats
    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
    return (*formats, "HEIF")


def send(channel: socket.socket, message: dict[str, object]) -> None:
    """One line of JSON. Raises OSError where the other side is gone."""
    channel.sendall(json.dumps(message).encode() + b"\n")


def receive(channel: socket.socket, seconds: float | None = None) -> dict[str, Any]:
    """
    The next message, complete within `seconds`.

    `multiprocessing.connection` does the same with four waits where this has one, of which each may have to
    wait for the interpreter's lock again.

    Raises:
        EOFError, OSError: the other side is gone.
        TimeoutError: it says nothing, or never comes to an end.
        ValueError: it sent what is not a message.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    line = b""
    while not line.endswith(b"\n"):
        channel.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
        part = channel.recv(LONGEST_MESSAGE)
        line += part
        if not part:
            raise EOFError
        if len(line) > LONGEST_MESSAGE:
            raise ValueError(f"more than {LONGEST_MESSAGE} bytes")
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("no object")  # noqa: TRY004 - of what was sent, not of how this was called
    return message


def write(shared: int, body: bytes) -> None:
    """Put `body` at the file's beginning. Raises OSError where it does not fit."""
    if os.pwrite(shared, body, 0) != len(body):
        raise OSError(f"{len(body)} bytes do not fit")


def read(shared: int, size: int) -> bytes:
    """The first `size` bytes. Raises ValueError if there are fewer: the other side is not to be trusted."""
    body = os.pread(shared, size, 0)
    if len(body) != size:
        raise ValueError(f"{len(body)} of {size} bytes")
    return body


def _limit(what: int, most: int) -> None:
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (most, most))
