"""
Decoding strangers' images in processes of their own.

A decoder that crashes, hangs or swallows all memory takes its process with it, and its row; the run goes on.
Each process has a socket for images and nothing else: no credentials in its environment, and its answers are
JSON and bytes, so that one that was taken over can say nothing but a wrong image.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final, Self

from vlm_runner.errors import VlmRunnerError
from vlm_runner.ingest.images import ImageLimits, Prepared, UnusableImage, Way, convert_here

if TYPE_CHECKING:
    from types import TracebackType

SECONDS: Final = 30.0
"""For one image. The largest that is taken, of 89 million pixels, needs some 5."""
START_SECONDS: Final = 60.0
MEMORY_BYTES: Final = 4 * 1024**3
"""Of address space for one process; the largest image that is taken needs some 1.5 GB."""
KEEP_MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "67108864"}
"""glibc shall not give an image's memory back and fetch it anew: measured 14 ms an image instead of 21."""
INHERITED: Final = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TZ")


class Converters:
    """
    `convert_here`, elsewhere. Call it from worker threads: each call has a process to itself.

    As many processes live as there are calls at once; they start when they are first needed.
    """

    def __init__(self, seconds: float = SECONDS, *, prelude: str = "") -> None:
        """`prelude` is Python that each process runs first: for tests, to make it misbehave."""
        self._seconds = seconds
        self._prelude = prelude
        self._idle: list[_Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            self._idle.pop().kill()

    def __call__(self, body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool) -> Prepared:
        asked = json.dumps(asdict(limits) | {"keep_format": keep_format, "fit": fit}).encode()
        try:
            return self._ask(asked, body)
        except _Died:
            # Once may be the system's doing, which kills when memory is short.
            pass
        try:
            return self._ask(asked, body)
        except _Died as death:
            raise UnusableImage(
                f"decoding the image kills the decoder ({death})", "Replace it, or leave the row out."
            ) from None

    def _ask(self, asked: bytes, body: bytes) -> Prepared:
        try:
            process = self._idle.pop()
        except IndexError:
            process = _Process(self._prelude)
        try:
            prepared = process.ask(asked, body, self._seconds)
        except UnusableImage:
            self._idle.append(process)
            raise
        except TimeoutError:
            process.kill()
            raise UnusableImage(
                f"decoding the image takes longer than {self._seconds:.0f} s",
                "Replace it, or leave the row out.",
            ) from None
        except (EOFError, OSError):
            raise _Died(process.kill()) from None
        except BaseException:
            process.kill()
            raise
        self._idle.append(process)
        return prepared


class _Died(Exception):
    """The process is no more; says how it ended."""


class _Process:
    def __init__(self, prelude: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-c", f"{prelude}\nfrom {__name__} import serve; serve({theirs.fileno()})"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(),
            )
        self._connection = Connection(ours.detach())
        if not self._ready():
            raise VlmRunnerError(
                f"The process that decodes images does not start ({self.kill()}).",
                hint=f"See why: {sys.executable} -c 'import {__name__}, PIL.Image, numpy'",
            )

    def _ready(self) -> bool:
        try:
            return self._connection.poll(START_SECONDS) and self._connection.recv_bytes() == b"ready"
        except (EOFError, OSError):
            return False

    def ask(self, asked: bytes, body: bytes, seconds: float) -> Prepared:
        connection = self._connection
        connection.send_bytes(asked)
        connection.send_bytes(body)
        if not connection.poll(seconds):
            raise TimeoutError
        answer = json.loads(connection.recv_bytes())
        if "reason" in answer:
            raise UnusableImage(answer["reason"], answer["hint"])
        way = Way(answer.pop("way"))
        return Prepared(body if way is Way.PASSED_THROUGH else connection.recv_bytes(), way=way, **answer)

    def kill(self) -> str:
        """End it, and say how it had ended before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)  # one that has crashed is about to say with which signal
        code = self._process.poll()
        self._process.kill()
        self._process.wait()
        self._connection.close()
        if code is None:
            return "it hangs"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _environment() -> dict[str, str]:
    """What a Python needs to start; and one thread for numpy's algebra, which is not used."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    modules = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return kept | modules | KEEP_MEMORY | {"OPENBLAS_NUM_THREADS": "1"}


def serve(descriptor: int) -> None:
    """The other side: answer until whoever asks is gone."""
    import numpy as np  # noqa: F401, PLC0415 - before there is anything to wait for
    from PIL import Image  # noqa: PLC0415

    from vlm_runner.ingest import png  # noqa: F401, PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    Image.preinit()
    with contextlib.suppress(EOFError, OSError), Connection(descriptor) as connection:
        connection.send_bytes(b"ready")
        while True:
            asked = json.loads(connection.recv_bytes())
            _answer(connection, asked, connection.recv_bytes())


def _answer(connection: Connection, asked: dict[str, object], body: bytes) -> None:
    keep_format, fit = bool(asked.pop("keep_format")), bool(asked.pop("fit"))
    limits = ImageLimits(**asked)  # type: ignore[arg-type]  # as `Converters` wrote it
    try:
        made = convert_here(body, limits, keep_format=keep_format, fit=fit)
    except UnusableImage as error:
        connection.send_bytes(json.dumps({"reason": str(error), "hint": error.hint}).encode())
        return
    facts = {"format": made.format, "width": made.width, "height": made.height, "way": made.way}
    connection.send_bytes(json.dumps(facts).encode())
    if made.way is not Way.PASSED_THROUGH:
        connection.send_bytes(made.body)


def _limit_memory() -> None:
    import resource  # noqa: PLC0415 - POSIX only, as is this package

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
