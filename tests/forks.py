"""
Real processes of the command line without the second that importing it takes: they are forked, not spawned.

One server a test session has imported the command line; each command is a fork of it, with a pid, memory,
working folder, environment and open files of its own. It can be killed, stopped and interrupted like any
process. What differs from `python -m vlm_runner` is only what is done before `main`: tests that are about
that start the interpreter.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from vlm_runner.errors import VlmRunnerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PRELOADED = (
    "vlm_runner.cli",
    "vlm_runner.cli.start",
    "vlm_runner.cli.start_run",
    "vlm_runner.cli.status",
    "vlm_runner.cli.full_status",
    "vlm_runner.cli.list_runs",
    "vlm_runner.cli.events",
    "vlm_runner.cli.report",
    "vlm_runner.cli.pipeline",
    "vlm_runner.cli.sweep_runs",
    "vlm_runner.cli.watch",
    "vlm_runner.cli.write_spec",
    "vlm_runner.runner",
    "vlm_runner.aws.session",
    "vlm_runner.dataset.source",
    "vlm_runner.lint",
    "vlm_runner.report.render",
    "aioboto3",
    "datasets",
    "obstore",
    "PIL.Image",
)
SERVICES = ("s3", "sts", "bedrock", "bedrock-runtime", "iam", "service-quotas", "pricing", "scheduler")
READ_AT_IMPORT = ("HF_", "PYTHON", "XDG_CACHE_HOME", "HOME")
"""Variables that libraries read when they are imported: where they differ, an interpreter is started."""
READ_WHEN_NEEDED = ("HF_TOKEN",)
"""By the Hugging Face Hub's library, for each request."""


class ForkedProcess:
    """As `subprocess.Popen`, as far as tests use it."""

    def __init__(self, channel: socket.socket, args: Sequence[str]) -> None:
        self.args = list(args)
        self._channel = channel
        self.returncode: int | None = None
        self._line = b""
        self.pid = int(self._message(None)["pid"])

    def poll(self) -> int | None:
        if self.returncode is None:
            with contextlib.suppress(TimeoutError):
                self.returncode = int(self._message(0.0)["code"])
                self._channel.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            try:
                self.returncode = int(self._message(timeout)["code"])
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
            self._channel.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _message(self, seconds: float | None) -> dict[str, Any]:
        """The server's next line."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._line:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            with selectors.DefaultSelector() as selector:
                selector.register(self._channel, selectors.EVENT_READ)
                if not selector.select(left):
                    raise TimeoutError
            part = self._channel.recv(4096)
            if not part:
                raise ConnectionError(f"the fork server is gone; {self.args}")
            self._line += part
        line, _, self._line = self._line.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found


class ForkServer:
    """Started on first use."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._path = ""
        self._lock = threading.Lock()

    def start(
        self,
        words: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdout: int,
        stderr: int,
        main: str = "vlm_runner.cli:main",
    ) -> ForkedProcess | None:
        """`main` with these words in sys.argv; None where only a fresh interpreter would do."""
        if _read_at_import(os.environ) != _read_at_import(env):
            return None
        with self._lock:
            if self._process is None:
                self._begin()
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(self._path)
        asked = {"main": main, "words": list(words), "env": dict(env), "cwd": str(cwd)}
        request = json.dumps(asked).encode() + b"\n"
        files = array.array("i", [stdout, stderr])
        channel.sendmsg([request[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        channel.sendall(request[1:])
        return ForkedProcess(channel, ["vlm-runner", *words])

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _begin(self) -> None:
        # An abstract address: it needs no folder, and goes with its process.
        self._path = f"\0vlm-runner-forks-{os.getpid()}"
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forks", self._path[1:], str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
            if ours.recv(1) != b"!":
                raise RuntimeError("the fork server did not start")


FORKS = ForkServer()
"""Of this test process; it ends with it."""

Process = subprocess.Popen[bytes] | ForkedProcess


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_IMPORT) and name not in READ_WHEN_NEEDED
    }


def serve(name: str, ready: int) -> None:
    """Fork for each connection; tell its pid, and how it ended."""
    for module in PRELOADED:
        importlib.import_module(module)
    _warm_up()
    parent = os.getppid()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen(64)
    running: dict[int, socket.socket] = {}
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # A command of the tests hears it also where these run under nohup.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.write(ready, b"!")
    os.close(ready)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while os.getppid() == parent:
            due = {key.fileobj for key, _ in selector.select(1.0)}
            if woken in due:
                woken.recv(4096)
            _reap(running)
            if listener in due:
                _fork(listener, running)


def _warm_up() -> None:
    """
    Read what every command would read anew: AWS's service models, authorities, the catalogue, templates.

    All of it is kept by caches of the process, and what is read is the same in each.
    """
    from vlm_runner.aws.session import AwsSession
    from vlm_runner.models.catalogue import load_catalogue
    from vlm_runner.report import render

    async def ask_nobody() -> None:
        async with AwsSession(region="us-east-1", endpoint_url="http://127.0.0.1:9") as aws:
            for service in SERVICES:
                await aws.service(service).endpoint()
            with contextlib.suppress(VlmRunnerError):
                await aws.service("sts").call("GetCallerIdentity")

    os.environ |= {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    asyncio.run(ask_nobody())
    load_catalogue(live={"models": {}})
    render._environment().get_template("page.html.j2")
    render._environment().get_template("main.html.j2")
    # No collection in a fork writes to the pages that it shares with this process.
    gc.collect()
    gc.freeze()


def _fork(listener: socket.socket, running: dict[int, socket.socket]) -> None:
    channel, _ = listener.accept()
    beginning, files, _, _ = socket.recv_fds(channel, 1, 2)
    with channel.makefile("rb") as lines:
        request = json.loads(beginning + lines.readline())
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for each in (listener, channel, *running.values()):
            each.close()
        _become(request, files)
    for file in files:
        os.close(file)
    running[pid] = channel
    channel.sendall(json.dumps({"pid": pid}).encode() + b"\n")


def _reap(running: dict[int, socket.socket]) -> None:
    while running:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        with running.pop(pid) as channel, contextlib.suppress(OSError):
            channel.sendall(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


def _become(request: dict[str, Any], files: list[int]) -> None:
    """The command, in the forked process; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(files[0], 1)
        os.dup2(files[1], 2)
        for file in files:
            os.close(file)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = ["vlm-runner", *request["words"]]
        module, _, name = request["main"].partition(":")
        getattr(importlib.import_module(module), name)()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
    except BaseException:  # noqa: BLE001 - what an interpreter would do
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
