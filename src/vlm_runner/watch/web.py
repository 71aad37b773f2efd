"""A page about a run that goes on, on this machine: it reads, and changes nothing."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from vlm_runner.core.run import Phase
from vlm_runner.errors import VlmRunnerError
from vlm_runner.report.collect import ReportInputs, collect
from vlm_runner.report.render import main_part, page
from vlm_runner.watch.follow import checkpoints

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    from vlm_runner.aws.ports import Aws
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.checkpoint.document import Checkpoint
    from vlm_runner.clock import Clock
    from vlm_runner.core.run import Run
    from vlm_runner.report.assemble import RunReport

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]", "::1")
KEEP_ALIVE_SECONDS: Final = 15.0
REMOTE_SECONDS: Final = 20.0
"""Between two questions to Bedrock about a job that trains."""

HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; "
    "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


class Live:
    """
    What is known of one run, kept fresh by `follow`.

    `aws` may be None, or fail: then the page shows what the checkpoint has.
    """

    def __init__(
        self,
        store: CheckpointStore,
        run_id: str,
        clock: Clock,
        assemble: Callable[[Checkpoint, ReportInputs], RunReport],
        aws: Aws | None = None,
    ) -> None:
        self._store, self._run_id, self._clock = store, run_id, clock
        self._assemble, self._aws = assemble, aws
        self._checkpoint: Checkpoint | None = None
        self._material = ReportInputs()
        self._gathered: tuple[object, ...] = ()
        self._remote = ""
        self._version = 0
        self._news = anyio.Event()
        self.ready = anyio.Event()
        self.over = False

    async def follow(self) -> None:
        """Until the run is done."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch_remote)
            sequence = -1
            async for checkpoint in checkpoints(self._store, self._run_id, clock=self._clock):
                self._checkpoint = checkpoint
                if checkpoint.run.sequence != sequence:
                    sequence = checkpoint.run.sequence
                    await self._gather(checkpoint.run)
                    self._notify()
            group.cancel_scope.cancel()
        self.over = True
        self._notify()

    def report(self) -> RunReport:
        if self._checkpoint is None:
            raise RuntimeError("nothing is known yet")
        found = self._assemble(self._checkpoint, self._material)
        training = self._checkpoint.run.phase is Phase.TRAINING
        return replace(found, remote=self._remote) if training else found

    async def changes(self) -> AsyncIterator[str]:
        """Server-sent events: one for the state as it is, and one for each change."""
        seen = -1
        while True:
            news, version = self._news, self._version
            if version != seen and self._checkpoint is not None:
                seen = version
                run = self._checkpoint.run
                yield f"id: {run.sequence}\nevent: changed\ndata: In phase {run.phase.value}\n\n"
            if self.over:
                yield "event: over\ndata: \n\n"
                return
            with anyio.move_on_after(KEEP_ALIVE_SECONDS) as waited:
                await news.wait()
            if waited.cancelled_caught:
                yield ": still here\n\n"

    def _notify(self) -> None:
        self._version += 1
        self.ready.set()
        self._news.set()
        self._news = anyio.Event()

    async def _gather(self, run: Run) -> None:
        worth = (run.tests is not None, run.model is not None, run.done)
        if self._aws is None or worth == self._gathered:
            return
        self._gathered = worth
        try:
            self._material = await collect(run, self._aws.objects(run.bucket, owner=run.account))
        except VlmRunnerError as error:
            self._material = ReportInputs(missing=(f"S3 could not be reached: {error.message}",))

    async def _watch_remote(self) -> None:
        """Polls Bedrock for the status of a job that trains, independently of the run's driver."""
        while self._aws is not None:
            run = self._checkpoint.run if self._checkpoint is not None else None
            if run is not None and run.phase is Phase.TRAINING and run.job is not None:
                try:
                    job = await self._aws.bedrock.find_job(run.job.arn)
                except VlmRunnerError as error:
                    self._say(f"Bedrock could not be asked: {error.message}")
                else:
                    parts = "".join(
                        f"; {name} {state}" for name, state in (job.details if job else {}).items()
                    )
                    self._say(f"Bedrock says: {job.status if job else 'no such job'}{parts}")
            await self._clock.sleep(REMOTE_SECONDS if run is not None else 1.0)

    def _say(self, text: str) -> None:
        if text != self._remote:
            self._remote = text
            self._notify()


def application(live: Live, hosts: tuple[str, ...] = LOOPBACK) -> Starlette:
    """Answers only under the names in `hosts`, which protects it from DNS rebinding."""

    async def whole(_: Request) -> Response:
        await live.ready.wait()
        html = await to_thread.run_sync(lambda: page([live.report()], live=True))
        return HTMLResponse(html, headers=HEADERS)

    async def part(_: Request) -> Response:
        await live.ready.wait()
        return HTMLResponse(await to_thread.run_sync(lambda: main_part([live.report()])), headers=HEADERS)

    async def script(_: Request) -> Response:
        text = (files("vlm_runner.report") / "templates" / "live.js").read_text(encoding="utf-8")
        return Response(text, media_type="text/javascript", headers=HEADERS)

    async def events(_: Request) -> Response:
        return StreamingResponse(live.changes(), media_type="text/event-stream", headers=HEADERS)

    routes: list[Any] = [
        Route("/", whole),
        Route("/main", part),
        Route("/live.js", script),
        Route("/events", events),
    ]
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    return Starlette(routes=routes, middleware=[trusted])
