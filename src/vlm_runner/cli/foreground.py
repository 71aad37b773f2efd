"""
Driving runs from a terminal or a container: watchers, signals, and the exit code.

SIGTERM, SIGHUP and the first SIGINT stop: effects in flight are recorded, and remote work continues. A second
SIGINT leaves at once.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio

from vlm_runner.cli import console
from vlm_runner.cli.billing import billing_text, cost_line, remains_line
from vlm_runner.cli.exit_codes import NOT_FINISHED, STOPPED, halted_exit_code, run_exit_code
from vlm_runner.cli.exit_message import write_exit_message
from vlm_runner.cli.past_runs import usual_times
from vlm_runner.cli.run_text import Reach, already_over, call_lines, end_lines
from vlm_runner.cli.run_view import RunView
from vlm_runner.cli.streams import Unwritten, forget_stdout, unfailing
from vlm_runner.core.run import Phase
from vlm_runner.errors import ConfigurationError, Stopped, Unrecorded
from vlm_runner.report.summary import summary
from vlm_runner.runner import Runner
from vlm_runner.watch.log import LogWatcher, configure_logging
from vlm_runner.watch.progress import ProgressWatcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from anyio.abc import TaskStatus

    from vlm_runner.bus import Watcher
    from vlm_runner.cli.options import Where
    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run
    from vlm_runner.json_output import RunResultJson
    from vlm_runner.runner import RunHandle
    from vlm_runner.settings import Settings


ENDING_SERVING = "Ending the serving: deleting the endpoint. Ctrl-C again leaves at once."
STOPPING = "Stopping: effects in flight are recorded, and remote work continues."
PATIENCE = 60.0
"""Seconds from SIGTERM to leaving at any price; ECS kills after at most 120 (stopTimeout)."""


def stop_signals() -> tuple[signal.Signals, ...]:
    """
    The signals that stop this process.

    SIGHUP, which a terminal sends when it is closed, is one of them unless it is ignored, as under nohup.
    """
    hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGINT, signal.SIGTERM, *hang_up)


@contextmanager
def watchers(
    settings: Settings, *, quiet: bool, verbose: bool, several: bool = False
) -> Iterator[list[Watcher]]:
    """Progress on a terminal, JSON log lines elsewhere; `log` in the settings overrules."""
    terminal = sys.stderr.isatty()
    style = settings.log if settings.log != "auto" else ("text" if terminal else "json")
    configure_logging(style, "quiet" if quiet else "verbose" if verbose else "normal")
    with ExitStack() as stack:
        found: list[Watcher] = [stack.enter_context(_traces())] if settings.events.otel else []
        if not quiet and terminal and settings.log == "auto":
            progress = stack.enter_context(ProgressWatcher())
            progress.several = several
            progress.usual_of = lambda run: usual_times(RunView.of(run), settings.checkpoint_uri)
            found.append(progress)
        elif not quiet:
            found.append(LogWatcher())
        yield found


def say(watching: Iterable[Watcher], text: str) -> None:
    """A message to the user, above the progress where that is shown."""
    for watcher in watching:
        if isinstance(watcher, ProgressWatcher):
            watcher.say(text)
            return
    console.say(text)


def show_money(watching: Iterable[Watcher], runner: Runner) -> None:
    """Let the progress show what its runs have cost so far."""
    for watcher in watching:
        if isinstance(watcher, ProgressWatcher):
            watcher.money_so_far = runner.money_so_far


def _show_begun(watching: Iterable[Watcher], handle: RunHandle) -> None:
    for watcher in watching:
        if isinstance(watcher, ProgressWatcher) and handle.run is not None:
            watcher.begin(handle.run, handle.history)


def _traces() -> AbstractContextManager[Watcher]:
    try:
        from vlm_runner.watch.trace import exported  # noqa: PLC0415 - an extra, which may not be installed
    except ImportError as error:
        raise ConfigurationError(
            "Traces need OpenTelemetry.", hint="Install it: pip install 'vlm-runner[otel]'"
        ) from error
    return exported()


@unfailing()
def drive_to_end(
    settings: Settings,
    begin: Callable[[Runner], Awaitable[RunHandle]],
    *,
    as_json: bool,
    quiet: bool = False,
    verbose: bool = False,
    timeout: float | None = None,
    where: Where,
    partly: bool = False,
    results: list[RunResultJson] | None = None,
) -> int:
    """
    Drive the run that `begin` gives, print what came of it, and return the exit code.

    `timeout` (seconds) ends the watching, never the run. `partly`: only to some phase; then a run that has
    come so far is a success. `results`: where its JSON goes instead of stdout, which takes one document.
    """
    flags = where.repeated(settings)
    with watchers(settings, quiet=quiet, verbose=verbose) as watching:
        ended = anyio.run(_drive, settings, begin, watching, timeout, flags, backend_options=loop_options())
    code = conclude(ended, settings, as_json=as_json, flags=flags, results=results)
    return 0 if partly and ended.error is None and ended.run is not None and not ended.run.done else code


def loop_options() -> dict[str, bool]:
    """The loop of uvloop where it is installed: measured, uploads then take a tenth less CPU."""
    return {"use_uvloop": find_spec("uvloop") is not None}


class DriveResult:
    """How an attached drive ended: a run, perhaps with the error that halted it."""

    def __init__(
        self,
        run: Run | None,
        error: BaseException | None,
        checkpoint: str,
        *,
        timed_out: bool,
        history: Sequence[Entry] = (),
        over_before: bool = False,
    ) -> None:
        self.run, self.error, self.checkpoint, self.timed_out = run, error, checkpoint, timed_out
        self.history, self.over_before = history, over_before


async def _drive(
    settings: Settings,
    begin: Callable[[Runner], Awaitable[RunHandle]],
    watching: list[Watcher],
    timeout: float | None,  # noqa: ASYNC109 - ends the watching in an orderly way, which cancelling would not
    flags: list[str],
) -> DriveResult:
    async with AsyncExitStack() as stack:
        runner = await stack.enter_async_context(Runner.open(settings, watchers=watching))
        show_money(watching, runner)
        obeying = _SignalHandler(settings, flags, watching)
        async with anyio.create_task_group() as group:
            await group.start(obeying.signals)
            over_before = False
            with obeying.beginning:
                obeying.handle = await begin(runner)
                over_before = obeying.handle.run is not None and obeying.handle.run.done
                _show_begun(watching, obeying.handle)
            timed_out = obeying.handle is not None and not await _ended_within(obeying.handle, timeout)
            group.cancel_scope.cancel()
        if (handle := obeying.handle) is None:
            raise Stopped("Stopped before anything was begun.", hint="Give the same command again.")
        run, error = handle.run, None
        try:
            run = await handle.result()
        except Exception as raised:  # noqa: BLE001 - returned together with the run
            error = raised
        return DriveResult(
            run,
            error,
            runner.store.locate(handle.run_id),
            timed_out=timed_out,
            history=handle.history,
            over_before=over_before,
        )


async def _ended_within(handle: RunHandle, seconds: float | None) -> bool:
    with anyio.move_on_after(seconds):
        await handle.wait()
        return True
    handle.stop()
    await handle.wait()
    return False


class _SignalHandler:
    """From the first moment on: process 1 of a container has no other handler, and would ignore SIGTERM."""

    def __init__(self, settings: Settings, flags: list[str], watching: Sequence[Watcher]) -> None:
        self._settings, self._flags, self._watching = settings, flags, watching
        self.handle: RunHandle | None = None
        self.beginning = anyio.CancelScope()

    async def signals(self, *, task_status: TaskStatus[None]) -> None:
        interrupts = 0
        async with anyio.create_task_group() as group:
            with anyio.open_signal_receiver(*stop_signals()) as signals:
                task_status.started()
                async for number in signals:
                    interrupts += number == signal.SIGINT
                    if interrupts > 1:
                        _leave_at_once(self.handle, self._settings, self._flags)
                    if number == signal.SIGINT and (serving := self._serving()) is not None:
                        # Whoever serves for as long as they watch means to end it, not to leave it billing.
                        say(self._watching, ENDING_SERVING)
                        group.start_soon(serving.cancel, "Interrupted.")
                        continue
                    say(self._watching, STOPPING)
                    self.beginning.cancel()
                    if self.handle is not None:
                        self.handle.stop()
                    group.start_soon(self._lose_patience)

    def _serving(self) -> RunHandle | None:
        """The run, if all that it does is to serve."""
        run = self.handle.run if self.handle is not None else None
        return self.handle if run is not None and run.phase is Phase.SERVING else None

    async def _lose_patience(self) -> None:
        """A download in a thread cannot be given up; it pays nothing, and need not be waited for."""
        await anyio.sleep(PATIENCE)
        sys.stdout.flush()
        os._exit(STOPPED)


def _leave_at_once(handle: RunHandle | None, settings: Settings, flags: list[str]) -> None:
    if (
        handle is not None
        and handle.run is not None
        and (warning := billing_text(handle.run, settings, Reach(flags)))
    ):
        console.say(warning)
    if handle is not None:
        console.say(resume_line(handle.run_id, flags))
    sys.stdout.flush()
    os._exit(130)


def resume_line(run_id: str, flags: list[str]) -> str:
    """The command that continues the run; `flags` are those that reach it, see `Where.repeated`."""
    return f"Resume with: {shlex.join(['vlm-runner', 'resume', run_id, *flags])}"


def conclude(
    ended: DriveResult,
    settings: Settings,
    *,
    as_json: bool,
    flags: list[str],
    results: list[RunResultJson] | None = None,
) -> int:
    """Print result, error and warnings, each to its place; the exit code."""
    run, reach = ended.run, Reach(flags)
    if run is None:
        raise ended.error if ended.error is not None else Stopped("Stopped.")
    if as_json:
        unwritten = _unwritten(partial(_print_json, run, ended, results))
    else:
        unwritten = _unwritten(partial(_say_the_end, run, ended, settings, reach))
    view = RunView.of(run)
    code = run_exit_code(view) if ended.error is None else halted_exit_code(ended.error, run)
    if ended.error is not None and not run.done:
        code = NOT_FINISHED if ended.timed_out else code
        console.say(f"vlm-runner: {ended.error}")
        if run.job is not None and run.may_train and not isinstance(ended.error, Stopped):
            console.say(
                f"The customization job continues and is billed, though no process waits: {run.job.arn}"
            )
        if not isinstance(ended.error, Unrecorded):  # it says itself what became of the endpoint
            warning = billing_text(run, settings, reach)
            console.say(warning or f"Nothing bills by the hour. The run is in phase {run.phase}.")
        console.say(resume_line(run.run_id, flags))
    elif warning := billing_text(run, settings, reach):
        console.say(warning)
        if not as_json:
            console.show(call_lines(view), err=True)
    if word := _text(ended.error) or run.reason:
        write_exit_message(word)
    if unwritten is not None and code == 0:
        raise unwritten
    return code


def _unwritten(show: Callable[[], None]) -> Unwritten | None:
    """What keeps a result from being shown: what bills is said, and decides the exit code, all the same."""
    try:
        show()
    except Unwritten as error:
        forget_stdout()
        return error
    return None


def _print_json(run: Run, ended: DriveResult, results: list[RunResultJson] | None) -> None:
    shown: RunResultJson = {
        **summary(run),
        "checkpoint": ended.checkpoint,
        "error": _text(ended.error),
    }
    (console.result_json if results is None else results.append)(shown)


def _say_the_end(run: Run, ended: DriveResult, settings: Settings, reach: Reach) -> None:
    """Five lines on stdout of a run that is over; if it was before this command, a sentence that says so."""
    if not run.done:
        return
    view, now = RunView.of(run), datetime.now(UTC)
    if ended.over_before:
        console.say(already_over(view, "nothing was done"))
    lines = end_lines(
        view,
        (run.updated_at - run.created_at).total_seconds(),
        cost=cost_line(run, ended.history, settings, now),
        remains=remains_line(run, settings),
        reach=reach,
    )
    console.show(lines)


def _text(error: BaseException | None) -> str | None:
    return None if error is None else str(error)
