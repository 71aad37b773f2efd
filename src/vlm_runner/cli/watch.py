"""watch: follow a run in the terminal or in a browser."""

from __future__ import annotations

import shlex
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from socket import create_server
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.aws.session import AwsSession
from vlm_runner.checkpoint import lease
from vlm_runner.cli import console
from vlm_runner.cli.options import Where, where_options
from vlm_runner.cli.past_runs import usual_times
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.run_argument import run_argument
from vlm_runner.cli.run_view import RunView
from vlm_runner.clock import SystemClock
from vlm_runner.core.run import Run
from vlm_runner.core.transitions import evolve
from vlm_runner.describe import sentence
from vlm_runner.errors import ConfigurationError, UsageError
from vlm_runner.prices import priced_catalogue
from vlm_runner.report.assemble import assemble
from vlm_runner.stores import opened_store
from vlm_runner.watch.follow import entries
from vlm_runner.watch.progress import ProgressWatcher

if TYPE_CHECKING:
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.checkpoint.document import Checkpoint
    from vlm_runner.models import Catalogue
    from vlm_runner.report.assemble import RunReport
    from vlm_runner.report.collect import ReportInputs
    from vlm_runner.settings import Settings


@click.command()
@run_argument()
@click.option("--web", is_flag=True, help="Serve a page that follows the run, to this machine only.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on.")
@click.option("--port", default=0, metavar="N", help="Port to serve on. Default: any that is free.")
@where_options
def watch(run_id: str, *, web: bool, host: str, port: int, **flags: Any) -> None:
    """Follow RUN in the terminal or in a browser.

    It only reads: Ctrl-C stops watching, not the run.

    \b
    Example:
        vlm-runner watch for-vlm-accessibility-3f2a9c01
        vlm-runner watch for-vlm-accessibility-3f2a9c01 --web
    """
    where = Where(**flags)
    settings = settings_for(where)
    try:
        if web:
            anyio.run(partial(_serve, settings, run_id, host, port))
        else:
            anyio.run(_lines, settings, run_id)
    except KeyboardInterrupt:
        again = shlex.join(["vlm-runner", "watch", run_id, *where.repeated(settings)])
        console.say(f"Stopped watching; the run continues. Watch it again with: {again}")
        sys.exit(130)


async def _lines(settings: Settings, run_id: str) -> None:
    async with opened_store(settings) as store:
        if console.at_terminal() and sys.stdout.isatty():
            await _screen(settings, store, run_id)
            return
        async for entry in entries(store, run_id, clock=SystemClock()):
            console.result(f"{entry.at:%Y-%m-%d %H:%M:%S}  {sentence(entry.event)}")


async def _screen(settings: Settings, store: CheckpointStore, run_id: str) -> None:
    """The lines, and below them the phases as a list that fills."""
    run: Run | None = None
    with ProgressWatcher() as shown:
        shown.usual_of = lambda one: usual_times(RunView.of(one), settings.checkpoint_uri)
        async for entry in entries(store, run_id, clock=SystemClock()):
            run = Run.begin(entry) if run is None else evolve(run, entry)
            shown.on_entry(run, entry)


async def _serve(settings: Settings, run_id: str, host: str, port: int) -> None:
    try:
        import uvicorn  # noqa: PLC0415 - an extra, which may not be installed

        from vlm_runner.watch.web import LOOPBACK, Live, application  # noqa: PLC0415 - an extra, which may not be installed
    except ImportError as error:
        raise ConfigurationError(
            "A page needs starlette and uvicorn.", hint="Install them: pip install 'vlm-runner[web]'"
        ) from error
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened_store(settings))
        checkpoint, _ = await lease.load(store, run_id)
        aws = await _session(settings, checkpoint.run.region, stack)
        live = Live(store, run_id, SystemClock(), partial(_assembled, priced_catalogue(settings)), aws)
        try:
            listening = create_server((host, port))
        except OSError as error:
            raise UsageError(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
        where = f"http://{host}:{listening.getsockname()[1]}/"
        if host not in LOOPBACK:
            console.say(f"Everyone who can reach {where} can read the run, its prompts and its images.")
        console.say(f"Run {run_id} is at {where} until Ctrl-C.")
        server = uvicorn.Server(
            uvicorn.Config(
                application(live, (*LOOPBACK, host)), log_level="error", timeout_graceful_shutdown=1
            )
        )
        async with anyio.create_task_group() as group:
            group.start_soon(live.follow)
            await server.serve(sockets=[listening])
            group.cancel_scope.cancel()


def _assembled(catalogue: Catalogue, checkpoint: Checkpoint, material: ReportInputs) -> RunReport:
    run = checkpoint.run
    profile = catalogue.known(run.spec.model.base)
    return assemble(run, checkpoint.history, material, profile, datetime.now(UTC))


async def _session(settings: Settings, region: str, stack: AsyncExitStack) -> Any:
    session = AwsSession(
        region=region, profile=settings.profile, endpoint_url=settings.endpoint_url, engine="aioboto3"
    )
    return await stack.enter_async_context(session)
