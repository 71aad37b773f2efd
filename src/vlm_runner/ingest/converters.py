"""
Decoding strangers' images in processes of their own.

A decoder that crashes, hangs or swallows all memory takes its process with it, and its row; the run goes on.
Each process has a socket for questions and a piece of memory for images, and nothing else: no credentials in
its environment, and its answers are JSON and bytes, so that one that was taken over can say nothing but a
wrong image.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Self

from vlm_runner.errors import MAKE_ROOM, OutOfResources, VlmRunnerError
from vlm_runner.image_limits import MAX_SOURCE_BYTES
from vlm_runner.ingest import decoder
from vlm_runner.ingest.images import Handling, ImageLimits, Prepared
from vlm_runner.ingest.inspect import ImageDefect

if TYPE_CHECKING:
    from types import TracebackType

SECONDS: Final = 30.0
"""For one image. The largest that is taken, of 89 million pixels, needs some 5."""
START_SECONDS: Final = 60.0
END_SECONDS: Final = 5.0
"""For a process that has closed its socket: a busy machine takes more than a second to end one."""
KEEP_SHARED: Final = 4 * 1024 * 1024
"""Bytes that one process shares with us between two images; what a larger image took is given back."""
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
            self._idle.pop().end()

    def __call__(self, body: bytes, limits: ImageLimits, *, keep_format: bool, fit: bool) -> Prepared:
        asked = {**_facts(limits), "keep_format": keep_format, "fit": fit, "size": len(body)}
        try:
            return self._ask(asked, body)
        except _Died:
            # Once may be the system's doing, which kills when memory is short.
            pass
        try:
            return self._ask(asked, body)
        except _Died as death:
            raise ImageDefect("I110", f"decoding the image breaks the decoder ({death})") from None

    def _ask(self, asked: dict[str, Any], body: bytes) -> Prepared:
        try:
            process = self._idle.pop()
        except IndexError:
            process = _Process(self._prelude)
        try:
            prepared = process.ask(asked, body, self._seconds)
        except ImageDefect:
            self._idle.append(process)
            raise
        except TimeoutError:
            process.end()
            raise ImageDefect("I110", f"decoding the image takes longer than {self._seconds:.0f} s") from None
        except (EOFError, OSError):
            raise _Died(process.ended()) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            process.end()
            raise _Died("its answer makes no sense") from None
        except BaseException:
            process.end()
            raise
        self._idle.append(process)
        return prepared


@cache
def _facts(limits: ImageLimits) -> dict[str, Any]:
    return asdict(limits)


class _Died(Exception):
    """The process has ended, or is not ours any more; says how."""


class _Process:
    def __init__(self, prelude: str) -> None:
        self._channel, theirs = socket.socketpair()
        self._shared = _memory()
        with theirs:
            passed = [theirs.fileno(), self._shared]
            code = f"{prelude}\nfrom {decoder.__name__} import serve; serve(*{passed})"
            try:
                self._process = subprocess.Popen(  # noqa: S603 - ourselves
                    [sys.executable, "-c", code],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=passed,
                    env=_environment(),
                )
            except OSError as error:
                self._channel.close()
                os.close(self._shared)
                raise OutOfResources(
                    f"The process that decodes images cannot be started: {error.strerror}.", hint=MAKE_ROOM
                ) from error
        if not self._ready():
            how = self.ended()
            if self._process.returncode < 0:
                # The system kills what it has no memory for; or the process hung, and was killed by us.
                raise OutOfResources(
                    f"The process that decodes images was killed at its start ({how}).", hint=MAKE_ROOM
                )
            raise VlmRunnerError(
                f"The process that decodes images does not start ({how}).",
                hint=f"See why: {sys.executable} -c 'import {decoder.__name__}, PIL.Image, numpy'",
            )

    def _ready(self) -> bool:
        try:
            return decoder.READY in decoder.receive(self._channel, START_SECONDS)
        except (EOFError, OSError, ValueError):
            return False

    def ask(self, asked: dict[str, Any], body: bytes, seconds: float) -> Prepared:
        decoder.write(self._shared, body)
        decoder.send(self._channel, asked)
        answer = decoder.receive(self._channel, seconds)
        try:
            return self._prepared(answer, body)
        finally:
            if os.fstat(self._shared).st_size > KEEP_SHARED:
                os.ftruncate(self._shared, 0)

    def _prepared(self, answer: dict[str, Any], body: bytes) -> Prepared:
        if "reason" in answer:
            raise ImageDefect(answer["code"], answer["reason"], answer["hint"])
        way, size, frames = Handling(answer.pop("way")), answer.pop("size"), int(answer.pop("frames"))
        made = (
            body
            if way is Handling.PASSED_THROUGH
            else decoder.read(self._shared, min(size, MAX_SOURCE_BYTES))
        )
        return Prepared(made, way=way, frames=frames, **answer)

    def ended(self) -> str:
        """End it, after it closed its socket or never answered, and say how it had ended before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        code = self._process.poll()
        self.end()
        if code is None:
            return "it lives on and does not answer"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._channel.close()
        os.close(self._shared)


def _memory() -> int:
    """A file that two processes can read and write, on no disk where the system has such files."""
    if sys.platform == "linux":
        return os.memfd_create("vlm-runner-image")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _environment() -> dict[str, str]:
    """What a Python needs to start; and one thread for numpy's algebra, which is not used."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    modules = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return kept | modules | KEEP_MEMORY | {"OPENBLAS_NUM_THREADS": "1"}
