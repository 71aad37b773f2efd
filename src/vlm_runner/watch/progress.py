"""Progress on a terminal: a line for each event; below them the phases, and a bar of what goes on."""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
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
from vlm_runner.core.text import short_arns
from vlm_runner.core.timeline import phase_spans, phase_states, spelled
from vlm_runner.describe import sentence
from vlm_runner.dollars import dollars, spent
from vlm_runner.folding import folded
from vlm_runner.redact import printable, redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from rich.console import ConsoleOptions, RenderableType

    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run
    from vlm_runner.core.signals import Signal
    from vlm_runner.core.timeline import PhaseState
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


MARKS: Final = {"done": ("✓", "green"), "now": ("▸", "cyan"), "next": ("·", "dim")}
ASCII_MARKS: Final = {"done": ("x", "green"), "now": (">", "cyan"), "next": ("-", "dim")}
"""Of a phase, by its state: the mark and its colour."""
LINES_BESIDE: Final = 6
"""Of the screen, for events and bars: lower ones show no phases."""


class _ClockColumn(ProgressColumn):
    """How long the run has been in its phase, however often what goes on there has changed."""

    def __init__(self, watcher: ProgressWatcher) -> None:
        super().__init__()
        self._watcher = watcher

    def render(self, task: Task) -> Text:
        since = self._watcher.since.get(task.fields["run_id"])
        return Text("" if since is None else spelled(monotonic() - since))


class _DetailsColumn(ProgressColumn):
    """Details and money of a task where several runs share the screen; of one they stand below its bar."""

    def __init__(self, watcher: ProgressWatcher) -> None:
        super().__init__()
        self._watcher = watcher

    def render(self, task: Task) -> Text:
        beside = len(self._watcher.tasks) > 1
        return Text("  ".join(self._watcher.details(task)) if beside else "")


class _Phases:
    """The phases of one run as a list that fills, with times; nothing where the screen is too low."""

    def __init__(self, watcher: ProgressWatcher) -> None:
        self.watcher = watcher

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        states = self.watcher.phases_now()
        if len(states) + LINES_BESIDE > console.size.height:
            return
        usual = self.watcher.usual
        for one in states:
            mark, style = (ASCII_MARKS if options.ascii_only else MARKS)[one.state]
            time = "" if one.seconds is None else spelled(one.seconds)
            rest = f"usually {usual[one.phase]}" if one.phase in usual and one.state != "done" else ""
            line = Text("  ")
            line.append(f"{mark} {one.phase.value:<11}", style)
            line.append(f"  {time:<12}{rest}".rstrip())
            line.truncate(options.max_width)
            yield line


class _Screen(Progress):
    """Rich's bars below the phases."""

    def __init__(self, *columns: ProgressColumn, phases: _Phases, console: Console) -> None:
        self._phases = phases
        super().__init__(*columns, console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self._phases
        yield from super().get_renderables()
        if len(self.tasks) == 1:
            # In a column they would squeeze the others on a narrow screen.
            for line in self._phases.watcher.details(self.tasks[0]):
                yield Text(folded(f"  {line}", self.console.width))


class ProgressWatcher:
    """Use as a context manager around the runner; writes to stderr."""

    def __init__(self, console: Console | None = None) -> None:
        self.money_so_far: Callable[[str], MoneyJson | None] = lambda _: None
        """By run id; `Runner.money_so_far`, once there is a runner."""
        self.several = False
        """Several runs share the screen: each line and bar names its run."""
        self._console = console or Console(stderr=True, highlight=False)
        self.usual: Mapping[Phase, str] = {}
        """How long each phase of the run that is watched takes as a rule."""
        self.usual_of: Callable[[Run], Mapping[Phase, str]] = lambda _: {}
        self._runs: dict[str, tuple[Run, list[Entry]]] = {}
        self._progress = _Screen(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=min(28, self._console.width // 4)),
            _ClockColumn(self),
            _DetailsColumn(self),
            phases=_Phases(self),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}
        self.since: dict[str, float] = {}
        """By run id: when its phase was first seen here, on the monotonic clock."""

    def __enter__(self) -> Self:
        """Shows nothing before the first event: the user may have to answer a question first."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @property
    def tasks(self) -> Sequence[Task]:
        """What is shown with a bar: of one run one at a time."""
        return self._progress.tasks

    def details(self, task: Task) -> list[str]:
        """What the task says of itself; what its run has cost so far, and costs an hour now."""
        found = [detail] if (detail := task.fields["detail"]) else []
        money = self.money_so_far(task.fields["run_id"])
        if money is None or not money["lines"]:
            return found
        so_far = spent(money["known_usd"], complete=money["complete"], estimated=money["about"])
        per_hour = money["per_hour_usd"]
        rate = "" if per_hour is None else f", and {dollars(per_hour)} an hour"
        return [*found, f"{so_far} so far{rate}"]

    def begin(self, run: Run, history: Sequence[Entry]) -> None:
        """What is known of a run that was begun before."""
        self._known(run)
        self._runs[run.run_id] = (run, [*history])
        self.since[run.run_id] = monotonic()
        if not run.done:
            self._show(run.run_id, WAITS.get(run.phase, run.phase.value))

    def _known(self, run: Run) -> tuple[Run, list[Entry]]:
        if run.run_id not in self._runs:
            self.usual = self.usual_of(run)
        return self._runs.setdefault(run.run_id, (run, []))

    def phases_now(self) -> list[PhaseState]:
        """Of the run that is watched; empty where there are several, or it has ended."""
        if self.several or len(self._runs) != 1:
            return []
        ((run, entries),) = self._runs.values()
        if run.done or not entries or entries[0].sequence != 1:
            return []
        spans = phase_spans(((entry.event.kind, entry.at) for entry in entries), run.route)
        return phase_states(spans, datetime.now(UTC), run.route, over=False)

    def on_entry(self, run: Run, entry: Entry) -> None:
        _, entries = self._known(run)
        if not entries or entries[-1].sequence < entry.sequence:
            entries.append(entry)
        before = self._runs[run.run_id][0].phase
        self._runs[run.run_id] = (run, entries)
        if run.phase is not before or run.run_id not in self.since:
            self.since[run.run_id] = monotonic()
        told = short_arns(sentence(entry.event))
        # Its first sentence names it.
        told = told if entry.sequence == 1 else self._named(run.run_id, told)
        self.say(f"{entry.at:%H:%M:%S}  {told}")
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
                self.say(f"          ! {self._named(run_id, f'{doing}: {message}')}")
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
                escape(printable(self._named(run_id, text))),
                total=total,
                completed=int(done or 0),
                detail=printable(detail),
                run_id=run_id,
            )

    def _named(self, run_id: str, text: str) -> str:
        return f"{run_id}  {text}" if self.several else text

    def say(self, text: str) -> None:
        """A line above the bars."""
        text = printable(redacted(text))
        if self._console.is_terminal:
            text = folded(text, self._console.width)
        self._console.print(escape(text), soft_wrap=True)
