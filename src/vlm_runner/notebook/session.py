"""A runner that stays open from cell to cell, and the live panel of its runs."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import structlog

from vlm_runner.checkpoint import lease
from vlm_runner.core.outcome import Outcome
from vlm_runner.core.phases import Phase
from vlm_runner.core.timeline import PAST_RUNS, phase_spans, usual_seconds
from vlm_runner.describe import sentence
from vlm_runner.doctor import BEFORE_DRIVING
from vlm_runner.doctor.run import run_doctor
from vlm_runner.errors import ConfigurationError, Stopped, VlmRunnerError
from vlm_runner.notebook import views
from vlm_runner.notebook.display import Output, load_ipython_extension, run_line, shell_of_kernel
from vlm_runner.plan.refusal import refuse_bad, refuse_findings
from vlm_runner.redact import printable, redacted
from vlm_runner.report.summary import may_bill
from vlm_runner.runner import Runner
from vlm_runner.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from vlm_runner.bus import Watcher
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.core.run import Run
    from vlm_runner.core.timeline import PhaseSpan
    from vlm_runner.doctor import Check
    from vlm_runner.doctor.checks import Part
    from vlm_runner.plan import Plan
    from vlm_runner.report.assemble import RunReport
    from vlm_runner.report.collect import Curve
    from vlm_runner.runner import RunHandle
    from vlm_runner.spec import RunSpec

REDRAW_SECONDS: Final = 1.0
"""Between two updates of a panel, at least: each is a message to every open page."""
IDLE_SECONDS: Final = 10.0
"""Between two updates while nothing happens: the clock and the money go on."""
LOSS_SECONDS: Final = 60.0
"""Between two looks for new losses while the job trains."""

log = structlog.get_logger("vlm_runner")


class Session:
    """
    A runner for a notebook; made by `open_session`.

    anyio's task groups must be left by the task that entered them, and each cell is a task of its own: so
    the runner lives in a task of the session.
    """

    def __init__(
        self, runner: Runner, settings: Settings, closing: asyncio.Event, task: asyncio.Task[None]
    ) -> None:
        self._runner, self._settings, self._closing, self._task = runner, settings, closing, task

    @property
    def runner(self) -> Runner:
        return self._runner

    async def plan(self, spec: RunSpec, *, run_id: str | None = None, doctor: bool = True) -> Plan:
        """
        As `Runner.plan`, with what `vlm-runner doctor` finds of the account, role, bucket and quotas.

        Raises:
            As `Runner.plan`.
        """
        checks = await self._checks(spec, run_id) if doctor else []
        return replace(await self._runner.plan(spec, run_id=run_id), doctor=tuple(checks))

    async def start(
        self, spec: RunSpec, *, run_id: str | None = None, lint: bool = True, doctor: bool = True
    ) -> RunHandle:
        """
        As `vlm-runner start --yes`: look at all rows and at the account, and create and drive the run.

        Returns once the run is begun. A handle as the last value of a cell is a live panel.

        Raises:
            DataError: lint has errors (unless `lint` is False); nothing was created.
            ConfigurationError: what AWS says would end the run later (unless `doctor` is False), or the keys
                in S3 hold other content; nothing was created.
            As `Runner.start`.
        """
        created = await self._runner.prepare(spec, run_id=run_id)
        if created is not None:
            checks = await self._checks(spec, run_id, BEFORE_DRIVING) if doctor else []
            plan = self._runner.plan_of(await self._runner.preview(created))
            if lint:
                refuse_findings(
                    plan.report, hint="See notebook.lint(spec). To start anyway, give lint=False."
                )
            if plan.refusal:
                raise ConfigurationError(plan.refusal, hint="Nothing was created.")
            refuse_bad(
                checks,
                all_of_them="await session.plan(spec)",
                hint=lambda fix: f"{fix}To start anyway, give doctor=False.",
            )
            await self._runner.create(plan.created or created)
        return await self._runner.resume(await self._runner.id_of(spec, run_id))

    async def _checks(
        self, spec: RunSpec, run_id: str | None, parts: Sequence[Part] | None = None
    ) -> list[Check]:
        region = self._settings.region or spec.aws.region
        settings = self._settings.model_copy(update={"region": region})
        return await run_doctor(spec, settings, self._runner.catalogue, run_id, parts)

    async def run(
        self, spec: RunSpec, *, run_id: str | None = None, lint: bool = True, doctor: bool = True
    ) -> Run:
        """
        Start or continue the run of `spec`, and follow it to its end; see `start` and `follow`.

        Raises:
            As `start` and `RunHandle.result`.
        """
        return await follow(await self.start(spec, run_id=run_id, lint=lint, doctor=doctor))

    async def resume(self, run_id: str) -> Run:
        """
        Continue a run, and follow it to its end.

        Raises:
            As `Runner.resume` and `RunHandle.result`.
        """
        return await follow(await self._runner.resume(run_id))

    async def cancel(self, run_id: str, reason: str = "") -> None:
        """As `Runner.request_cancel`."""
        await self._runner.request_cancel(run_id, reason)

    async def report(self, run_id: str) -> RunReport:
        """As `Runner.report`; as the last value of a cell it is the report's page."""
        return await self._runner.report(run_id)

    async def close(self) -> None:
        """Stop driving: effects in flight are recorded, remote work goes on."""
        self._closing.set()
        await self._task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def open_session(
    settings: Settings | None = None, *, watchers: Iterable[Watcher] = (), **parts: Any
) -> Session:
    """
    Open a runner that stays open until `Session.close`, and show the library's values richly.

    Without `settings`, they are those of the environment. `parts` are further arguments of `Runner.open`.

    Raises:
        ConfigurationError: see `Runner.open`.
    """
    if (shell := shell_of_kernel()) is not None:
        load_ipython_extension(shell)
    opened: asyncio.Future[Runner] = asyncio.get_running_loop().create_future()
    closing = asyncio.Event()

    given = settings or Settings.from_environment()

    async def hold() -> None:
        try:
            async with Runner.open(given, watchers=watchers, **parts) as runner:
                opened.set_result(runner)
                await closing.wait()
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)

    task = asyncio.create_task(hold(), name="vlm-runner session")
    return Session(await opened, given, closing, task)


async def follow(handle: RunHandle) -> Run:
    """
    Show a run until it is done: a live panel in a notebook, a line for each event elsewhere.

    Interrupting the kernel stops it as Ctrl-C stops `vlm-runner start`: effects in flight are recorded,
    remote work goes on, and the command that continues the run is shown.

    Raises:
        Stopped: the kernel was interrupted; a cell shows the message alone.
        As `RunHandle.result`.
    """
    try:
        await _show(handle)
    except asyncio.CancelledError:
        handle.stop()
        with anyio.CancelScope(shield=True):
            await handle.wait()
        if shell_of_kernel() is not None:
            # The interrupt ends here: as an error it keeps later cells from being run, as a cancelled task it
            # would be shown with a traceback of ours.
            raise Stopped("Interrupted.", hint=stopped_text(handle)) from None
        _say(stopped_text(handle))
        raise
    if handle.error is not None and shell_of_kernel() is None:  # a panel shows it
        _say(stopped_text(handle))
    return await handle.result()


_FOLLOWING: set[asyncio.Task[None]] = set()
"""The event loop keeps weak references only."""


def follow_in_background(handle: RunHandle) -> None:
    """Show a run while other cells are run; to be called on the event loop."""
    task = asyncio.get_running_loop().create_task(_show(handle), name=f"panel of {handle.run_id}")
    _FOLLOWING.add(task)
    task.add_done_callback(_FOLLOWING.discard)


def stopped_text(handle: RunHandle) -> str:
    """Why this process no longer drives the run, what may bill, and how to go on."""
    lines = [str(handle.error)] if handle.error is not None else []
    if handle.run is not None:
        items = may_bill(handle.run)
        lines += [
            f"May still bill: {item['kind']} {item['name']}; {item['delete_command']}" for item in items
        ]
        if not items:
            lines.append("Nothing bills by the hour.")
    return "\n".join([*lines, f"Resume with: {handle.resume_command}"])


def _say(text: str) -> None:
    print(printable(redacted(text)), file=sys.stderr)  # noqa: T201 - this is the notebook's output


async def _show(handle: RunHandle) -> None:
    if shell_of_kernel() is None:
        async for entry in handle.events():
            _say(f"{entry.at:%H:%M:%S}  {sentence(entry.event)}")
        return
    panel = _LivePanel(handle)
    await panel.keep()


class _LivePanel:
    def __init__(self, handle: RunHandle) -> None:
        self._handle = handle
        self._curves: tuple[Curve, Curve] | None = None
        self._looked: tuple[Phase, float] | None = None
        self._usual: dict[Phase, float] = {}
        self._output: Output | None = None

    async def keep(self) -> None:
        """Show the run, and replace what is shown until this process no longer drives it."""
        if (run := self._handle.run) is not None and not run.done:
            self._usual = await usual_phase_seconds(self._handle.store, run)
        while True:
            over = self._handle.finished
            await self._look_for_losses()
            self._draw()
            if over:
                return
            with anyio.move_on_after(IDLE_SECONDS):
                await self._handle.changed()
            with anyio.move_on_after(REDRAW_SECONDS):
                await self._handle.wait()

    async def _look_for_losses(self) -> None:
        run, now = self._handle.run, asyncio.get_running_loop().time()
        if run is None or run.job is None:
            return
        if self._looked is not None:
            phase, at = self._looked
            waiting = run.phase is Phase.TRAINING and now - at >= LOSS_SECONDS
            if phase is run.phase and not waiting:
                return
        self._looked = (run.phase, now)
        try:
            self._curves = await self._handle.losses()
        except VlmRunnerError as error:
            log.debug("panel.losses_unread", run_id=run.run_id, reason=error.message)

    def _draw(self) -> None:
        run, money = self._handle.run, self._handle.money()
        if run is None or money is None:
            return
        stopped = stopped_text(self._handle) if self._handle.finished and not run.done else None
        html = views.panel_html(
            views.Panel(
                run=run,
                history=self._handle.history,
                now=run.updated_at if run.done else datetime.now(UTC),
                money=money,
                progress=self._handle.progress,
                trouble=self._handle.trouble,
                curves=self._curves,
                usual=self._usual.get(run.phase),
                stopped=stopped,
            )
        )
        if self._output is None:
            self._output = Output(html, run_line(run))
        else:
            self._output.replace(html, run_line(run))


async def usual_phase_seconds(store: CheckpointStore, run: Run) -> dict[Phase, float]:
    """
    How long each phase takes as a rule: the median over past runs of this model in the store.

    What cannot be read is left out.
    """
    past: list[Sequence[PhaseSpan]] = []
    try:
        names = [name for name in await store.run_ids() if name != run.run_id][-PAST_RUNS:]
    except VlmRunnerError:
        return {}
    for name in names:
        try:
            checkpoint, _ = await lease.load(store, name)
        except VlmRunnerError:
            continue
        one = checkpoint.run
        like = (one.spec.model.base, one.spec.serving.mode) == (run.spec.model.base, run.spec.serving.mode)
        if like and one.outcome is Outcome.SUCCEEDED:
            kinds = ((entry.event.kind, entry.at) for entry in checkpoint.history)
            past.append(phase_spans(kinds, one.route))
    return usual_seconds(past)
