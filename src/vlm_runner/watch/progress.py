"""Progress on a terminal: a line for each event, and a bar or a status while something is in progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from vlm_runner.core.run import Phase
from vlm_runner.core.signals import (
    DownloadProgress,
    HeldElsewhere,
    RemoteStatusChanged,
    StagingProgress,
    TestAnswered,
    Trouble,
)
from vlm_runner.describe import sentence
from vlm_runner.dollars import dollars, spent
from vlm_runner.redact import printable, redacted

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run
    from vlm_runner.core.signals import Signal
    from vlm_runner.json_output import MoneyJson

WAITS = {
    Phase.STAGING: "staging images",
    Phase.RECORDING: "writing records",
    Phase.SUBMITTING: "submitting the job",
    Phase.TRAINING: "training",
    Phase.REQUESTING: "creating the endpoint",
    Phase.WARMING: "waiting for the endpoint",
    Phase.TESTING: "asking the model",
    Phase.SERVING: "serving the model",
    Phase.RELEASING: "releasing what bills",
    Phase.REPORTING: "writing the report",
}


class _MoneyColumn(ProgressColumn):
    """What the run has cost so far, and what it costs an hour now."""

    def __init__(self, watcher: ProgressWatcher) -> None:
        super().__init__()
        self._watcher = watcher

    def render(self, task: Task) -> Text:
        money = self._watcher.money_so_far(task.fields.get("run_id", ""))
        if money is None or not money["lines"]:
            return Text("")
        so_far = spent(money["known_usd"], complete=money["complete"], estimated=money["about"])
        per_hour = money["per_hour_usd"]
        rate = "" if per_hour is None else f", and {dollars(per_hour)} an hour"
        return Text(f"{so_far} so far{rate}")


class ProgressWatcher:
    """Use as a context manager around the runner; writes to stderr."""

    def __init__(self, console: Console | None = None) -> None:
        self.money_so_far: Callable[[str], MoneyJson | None] = lambda _: None
        """By run id; `Runner.money_so_far`, once there is a runner."""
        self._console = console or Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            _MoneyColumn(self),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Shows nothing before the first event: the user may have to answer a question first."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def on_entry(self, run: Run, entry: Entry) -> None:
        self._line(f"{entry.at:%H:%M:%S}  {sentence(entry.event)}")
        self._show(run.run_id, "" if run.done else WAITS.get(run.phase, run.phase.value))

    def on_signal(self, run_id: str, signal: Signal) -> None:
        match signal:
            case StagingProgress():
                self._staging(run_id, signal)
            case DownloadProgress():
                self._download(run_id, signal)
            case RemoteStatusChanged(what=what, status=status, details=details):
                parts = ", ".join(f"{name} {state}" for name, state in details.items())
                self._show(run_id, f"{what} {status}", detail=parts)
            case TestAnswered(done=done, asked=asked):
                self._show(run_id, "asking the model", done=done, total=asked)
            case Trouble(doing=doing, message=message):
                self._line(f"          ! {doing}: {message}")
            case HeldElsewhere(host=host, pid=pid):
                self._show(run_id, f"held by process {pid} on {host}; waiting for it")

    def _download(self, run_id: str, signal: DownloadProgress) -> None:
        if not signal.done:
            detail = f"{signal.bytes / 1e6:.1f} MB downloaded, now {signal.file}"
            self._show(run_id, "reading the dataset", detail)
            return
        self._show(run_id, "")
        if not self._tasks:
            self._progress.stop()  # what follows may be a question

    def _staging(self, run_id: str, signal: StagingProgress) -> None:
        skipped = f", {signal.skipped} skipped" if signal.skipped else ""
        fetched = signal.bytes_downloaded
        downloaded = f"{fetched / 1e6:.1f} MB down, up " if fetched else ""
        left = f", {signal.seconds_left:.0f} s left" if signal.seconds_left is not None else ""
        detail = (
            f"{signal.rows_done}/{signal.rows} rows ({signal.passed_through} unchanged, "
            f"{signal.converted} converted{skipped}), {signal.rate:.0f}/s, "
            f"{downloaded}{signal.bytes_uploaded / 1e6:.1f} MB, "
            f"{signal.in_flight}/{signal.concurrency} in flight{left}"
        )
        self._show(run_id, f"staging {signal.subset}", detail, signal.rows_done, signal.rows)

    def _show(
        self, run_id: str, text: str, detail: str = "", done: float | None = None, total: float | None = None
    ) -> None:
        self._progress.start()
        if run_id in self._tasks:
            self._progress.remove_task(self._tasks.pop(run_id))
        if text:
            self._tasks[run_id] = self._progress.add_task(
                escape(printable(text)),
                total=total,
                completed=int(done or 0),
                detail=escape(printable(detail)),
                run_id=run_id,
            )

    def _line(self, text: str) -> None:
        self._console.print(escape(printable(redacted(text))), soft_wrap=True)
