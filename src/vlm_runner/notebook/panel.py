"""A run that goes on, as a live panel; as lines of text where there is no notebook."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import anyio
import structlog

from vlm_runner.checkpoint import lease
from vlm_runner.core.outcome import Outcome
from vlm_runner.core.phases import Phase
from vlm_runner.core.timeline import PAST_RUNS, phase_spans, usual_seconds
from vlm_runner.describe import sentence
from vlm_runner.errors import Stopped, VlmRunnerError
from vlm_runner.notebook import views
from vlm_runner.notebook.kernel import Output, run_line, shell_of_kernel
from vlm_runner.redact import printable, redacted
from vlm_runner.report.summary import may_bill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.core.run import Run
    from vlm_runner.core.timeline import PhaseSpan
    from vlm_runner.report.collect import Curve
    from vlm_runner.runner import RunHandle

REDRAW_SECONDS: Final = 1.0
"""Between two updates of a panel, at least: each is a message to every open page."""
IDLE_SECONDS: Final = 10.0
"""Between two updates while nothing happens: the clock and the money go on."""
LOSS_SECONDS: Final = 60.0
"""Between two looks for new losses while the job trains."""

log = structlog.get_logger("vlm_runner")


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
