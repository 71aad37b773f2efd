"""The server: a socket, a server thread, a ticker, and an orderly shutdown."""

import contextlib
import os
import signal
import socket
import tempfile
import threading
import traceback
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vlm_runner.sandbox.call_log import CallLog
from vlm_runner.sandbox.clock import SimulatedClock
from vlm_runner.sandbox.exchange_log import ExchangeLog
from vlm_runner.sandbox.faults import Faults
from vlm_runner.sandbox.gateway import Gateway
from vlm_runner.sandbox.moto_bridge import Moto
from vlm_runner.sandbox.options import SandboxOptions
from vlm_runner.sandbox.progress import settle
from vlm_runner.sandbox.state import SandboxState

_TICK = 0.05


class _Protocol(H11Protocol):
    """Passes its transport to the application, which resets connections when a fault asks for it."""

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Sandbox:
    """
    A running sandbox, as a context manager. Entering it resets moto, whose state is global to the process.

    `clock`, `state`, `faults` and `calls` give tests in the same process direct access.
    """

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self._options = options or SandboxOptions()
        self.clock = SimulatedClock(self._options.as_of, self._options.speed)
        options = self._options
        self.state = SandboxState(
            options.account,
            self.clock,
            options.seed,
            options.prices,
            roles=options.roles,
            model_units=options.model_units,
        )
        self._moto = Moto(self._options.account)
        hosts = (self._options.host, *self._options.hosts)
        exchanges = ExchangeLog(self._options.record) if self._options.record else None
        self._gateway = Gateway(self.state, self._moto, self._options.seed, hosts, exchanges)
        self._stopping = threading.Event()

    @property
    def faults(self) -> Faults:
        return self._gateway.faults

    @property
    def calls(self) -> CallLog:
        return self._gateway.calls

    def __enter__(self) -> Self:
        self._moto.reset()
        self._socket = socket.create_server((self._options.host, self._options.port), backlog=2048)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://{host}:{port}"
        self._gateway.pipelines.url = self.url
        self._server = uvicorn.Server(_config(self._gateway))
        self._threads = [
            threading.Thread(target=self._server.run, args=([self._socket],), name="sandbox-server"),
            threading.Thread(target=self._tick, name="sandbox-ticker", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._await_start()
        if self._options.ready_file:
            _write_atomically(self._options.ready_file, f"{self.url}\n")
        return self

    def _await_start(self) -> None:
        while not self._server.started:
            if not self._threads[0].is_alive():
                raise RuntimeError("the sandbox server did not start")
            self._stopping.wait(0.005)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._gateway.stop_waiting()
        self._server.should_exit = True
        for thread in self._threads:
            thread.join()
        self._socket.close()
        self._gateway.close()

    def _tick(self) -> None:
        while not self._stopping.wait(_TICK):
            try:
                settle(self.state)
            except Exception:  # noqa: BLE001 -- a bug must not stop the simulated clock
                traceback.print_exc()


def _config(app: Gateway) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        # Longer than clients keep idle connections, so that the server never closes first.
        timeout_keep_alive=600,
        timeout_graceful_shutdown=1,
    )


def _write_atomically(path: Path, text: str) -> None:
    """Readers see either no file or the complete one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    Path(temporary).replace(path)


def serve(options: SandboxOptions) -> None:
    """Run until SIGTERM or SIGINT. Must be called in the main thread."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with Sandbox(options):
        stop.wait()
    if options.ready_file:
        with contextlib.suppress(FileNotFoundError):
            options.ready_file.unlink()
