"""
The library's front: a runner drives runs, many at once, sharing clients and bounds.

Importing this configures nothing: no logging, no signal handlers, no environment.
"""

from __future__ import annotations

import shlex
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from vlm_runner.aws.queue import region_of
from vlm_runner.bus import Bus
from vlm_runner.checkpoint import lease, process_identity
from vlm_runner.clock import SystemClock
from vlm_runner.core.events import Entry, ImagesStaged, RunCreated
from vlm_runner.core.names import command_flags, default_run_id, default_serving_id
from vlm_runner.core.run import Phase, Run
from vlm_runner.core.signals import TestAnswered, Trouble
from vlm_runner.data_source import open_for
from vlm_runner.driver import Driver, Driving
from vlm_runner.errors import (
    ConfigurationError,
    NotFound,
    RunExists,
    RunNotFound,
    Stopped,
    TrackerFailed,
    UsageError,
)
from vlm_runner.evaluate import load_metrics
from vlm_runner.heartbeat import beat
from vlm_runner.ingest.pipeline import Share
from vlm_runner.models.profile import CUSTOM_TOKENS
from vlm_runner.path_segment import checked_run_id
from vlm_runner.plan import Plan
from vlm_runner.plan.refusal import refuse_findings
from vlm_runner.prices import look_up, priced_catalogue
from vlm_runner.report.collect import Curve, collect, loss_curves, stored_scores
from vlm_runner.report.money import money
from vlm_runner.spec import ServingMode
from vlm_runner.steps.datasets import OpenDatasets
from vlm_runner.steps.delete_run import delete_run, prepare_deletion
from vlm_runner.steps.inquiry import Inquiry, endpoint_of, inquire, not_served
from vlm_runner.steps.job_wakeups import JobWakeups
from vlm_runner.steps.places import claim_places, refuse_occupied
from vlm_runner.steps.ports import Ports
from vlm_runner.steps.prepare import check_spec, prepare, verified
from vlm_runner.steps.prepare_serving import ServeOptions, prepare_serving
from vlm_runner.steps.preview import RunPreview, lint_run, preview_run
from vlm_runner.steps.stage import stage_images
from vlm_runner.stores import open_store
from vlm_runner.task_groups import task_group
from vlm_runner.track import Trackers, open_trackers, reason_of, tracked_run
from vlm_runner.watch.sinks import EventSinks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from anyio.abc import TaskGroup

    from vlm_runner.aws.ports import Aws, RuntimeReply
    from vlm_runner.aws.queue import Queue
    from vlm_runner.aws.session import AwsSession
    from vlm_runner.bus import Watcher
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.checkpoint.document import Checkpoint
    from vlm_runner.clock import Clock
    from vlm_runner.core.deletion import RunDeletion
    from vlm_runner.core.signals import Signal
    from vlm_runner.dataset.rows import Opened
    from vlm_runner.evaluate import Metric
    from vlm_runner.json_output import MoneyJson
    from vlm_runner.models import Catalogue, ModelProfile
    from vlm_runner.prices.stored import Listed
    from vlm_runner.report.assemble import RunReport
    from vlm_runner.settings import Settings
    from vlm_runner.spec import RunSpec

VERSION = installed_version("vlm-runner")

STOP_SECONDS = 25.0
"""How long effects in flight may take when a runner closes; ECS kills 30 seconds after SIGTERM by default."""


class RunHandle:
    """One run that this process drives, or has driven."""

    def __init__(self, run_id: str, store: CheckpointStore, driver: Driver, runner: Runner) -> None:
        self.run_id = run_id
        self._store = store
        self._driver = driver
        self._runner = runner
        self._scope = anyio.CancelScope()
        self._entries: list[Entry] = []
        self._news = anyio.Event()
        self._finished = anyio.Event()
        self._run: Run | None = None
        self._error: BaseException | None = None
        self._progress: Signal | None = None
        self._trouble: Trouble | None = None
        self._asked: TestAnswered | None = None

    @property
    def run(self) -> Run | None:
        """The latest state that this process knows; None before the checkpoint was read."""
        return self._run

    @property
    def history(self) -> tuple[Entry, ...]:
        """All entries that this process knows, the oldest first."""
        return tuple(self._entries)

    @property
    def store(self) -> CheckpointStore:
        return self._store

    @property
    def resume_command(self) -> str:
        """What continues the run from a shell with the same environment."""
        return self._runner.resume_command(self.run_id)

    @property
    def progress(self) -> Signal | None:
        """The latest signal of how it goes since the last entry; troubles are apart."""
        return self._progress

    @property
    def trouble(self) -> Trouble | None:
        """The latest trouble since the last entry."""
        return self._trouble

    @property
    def error(self) -> BaseException | None:
        """Why this process stopped driving it before it was done; `result` raises it."""
        return self._error

    async def changed(self) -> None:
        """Wait for the next entry, signal or end; returns at once if this process no longer drives it."""
        if not self.finished:
            await self._news.wait()

    def money(self) -> MoneyJson | None:
        """What it has cost so far, as far as prices are known; None before the checkpoint was read."""
        if self._run is None:
            return None
        return self._runner.money(self._run, self.history, self._asked)

    async def losses(self) -> tuple[Curve, Curve]:
        """
        Training and validation loss, as far as Bedrock has written them; empty before.

        Raises:
            VlmRunnerError: S3 could not be read.
        """
        return (Curve(), Curve()) if self._run is None else await self._runner.losses(self._run)

    async def events(self, *, after: int = 0) -> AsyncIterator[Entry]:
        """
        The run's entries from `after` + 1 on, past ones first and then new ones, each exactly once.

        Ends when the run is done, or this process no longer drives it.
        """
        seen = after
        while True:
            news, finished = self._news, self._finished.is_set()
            for entry in self._entries[:]:
                if entry.sequence > seen:
                    seen = entry.sequence
                    yield entry
            if finished:
                return
            await news.wait()

    async def result(self) -> Run:
        """
        Wait for the end of the run, and return it.

        Raises:
            Stopped: this process was asked to stop driving it.
            VlmRunnerError: the run halted; `resume` continues it once the cause is fixed.
        """
        await self._finished.wait()
        if self._error is not None:
            raise self._error
        if self._run is None:
            raise Stopped(f"Run {self.run_id} was stopped.")
        return self._run

    async def cancel(self, reason: str = "") -> None:
        """
        Request that the run stop and release what it pays for; `result` then returns the cancelled run.

        Returns once the request is saved, which is before it is carried out.
        """
        await self._store.request_cancel(self.run_id, reason)
        self._driver.look_for_cancel()

    @property
    def finished(self) -> bool:
        """True once this process no longer drives it, for any reason."""
        return self._finished.is_set()

    async def wait(self) -> None:
        """Wait until `finished`; raises nothing."""
        await self._finished.wait()

    def stop(self) -> None:
        """Stop driving: remote work continues, and any process may resume the run."""
        self._driver.shorten_deadlines()
        self._scope.cancel()

    def begin(self, checkpoint: Checkpoint) -> None:
        """Start from `checkpoint`; called again if another process has advanced the run meanwhile."""
        self._run = checkpoint.run
        self._entries = list(checkpoint.history)
        self._notify()

    def on_entry(self, run: Run, entry: Entry) -> None:
        self._run = run
        self._entries.append(entry)
        self._progress = self._trouble = None
        self._notify()

    def on_signal(self, signal: Signal) -> None:
        if isinstance(signal, Trouble):
            self._trouble = signal
        else:
            self._progress = signal
        if isinstance(signal, TestAnswered):
            self._asked = signal
        self._notify()

    async def drive(self, until: Phase | None) -> None:
        """Drive to the end, and keep the result; raises nothing but cancellation from outside."""
        ended = False
        try:
            with self._scope:
                self._run = await self._driver.drive(until, on_claimed=self.begin)
                ended = True
        except Exception as error:  # noqa: BLE001 - result() raises it
            self._error = error
        finally:
            if self._error is None and not ended:
                # By `stop`, by a runner that closes, or by whoever cancelled the task.
                self._error = Stopped(f"Run {self.run_id} was stopped; remote work continues.")
            self._finished.set()
            self._notify()

    def _notify(self) -> None:
        self._news.set()
        self._news = anyio.Event()


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to one question."""

    run_id: str
    """Of the run whose endpoint answered."""
    endpoint_arn: str
    reply: RuntimeReply
    cost_usd: float | None
    """Of this call; None: its price is not known, or it is served by the hour."""
    by_the_hour: bool
    """Whether the endpoint bills by the hour, and calls cost nothing more."""
    estimated: bool = False
    """Whether the price of its tokens is one that only one source tells, which is not AWS itself."""


class Runner:
    """
    Drives runs.

    Made by `Runner.open`; leaving it stops its runs, after effects in flight are recorded.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: CheckpointStore,
        clock: Clock,
        connect: Callable[[str], Aws],
        open_dataset: Callable[[RunSpec, str | None], Opened],
        group: TaskGroup,
        watchers: Iterable[Watcher] = (),
        wakeups_of: Callable[[str], JobWakeups | None] = lambda _: None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._connect = connect
        self._open_dataset = open_dataset
        self._datasets = OpenDatasets()
        self._group = group
        self._catalogue = priced_catalogue(settings)
        self._listed: dict[str, Listed] = {}
        self._price_troubles: dict[str, tuple[str, ...]] = {}
        self._handles: dict[str, RunHandle] = {}
        self._bus = Bus([*watchers, _Handles(self._handles)])
        self._wakeups_of = wakeups_of
        self._metrics = metrics or {}
        self._proven = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        *,
        clock: Clock | None = None,
        store: CheckpointStore | None = None,
        connect: Callable[[str], Aws] | None = None,
        open_dataset: Callable[[RunSpec, str | None], Opened] | None = None,
        watchers: Iterable[Watcher] = (),
        open_queue: Callable[[str, str], Queue] | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> AsyncIterator[Runner]:
        """
        A runner over `settings`; the other arguments replace parts of the world, mostly for tests.

        Args:
            settings: how and where this process works; `Settings.from_environment()` reads the environment.
            clock: the time, and what sleeps; default: the system's clock.
            store: where checkpoints are kept; default: the store of `settings.checkpoint_uri`.
            connect: gives the AWS of a region; default: a session over `settings`, one a region.
            open_dataset: opens the dataset of a spec at a pinned revision (None: the newest); default: the
                Hugging Face Hub or a local folder, as the spec says.
            watchers: notified of every entry and signal of every run, in addition to the event sinks of spec
                and settings.
            open_queue: opens the SQS queue of a region and URL; used if `settings.queue_url` is set.
            metrics: by name, in addition to the `test.metrics` of a spec.

        Raises:
            ConfigurationError: the settings do not fit together, or name a store that cannot be opened.
        """
        async with AsyncExitStack() as stack:
            sessions: dict[str, AwsSession] = {}
            time = clock or SystemClock()

            def session(region: str) -> AwsSession:
                if region not in sessions:
                    sessions[region] = _session(settings, region, stack)
                return sessions[region]

            if store is None:
                store = open_store(settings, lambda region: _session(settings, region, stack))
            # Inside the stack: sessions must close after the group's cancellation, not within it.
            async with task_group() as group:
                wakeups = _Wakeups(
                    settings.queue_url,
                    open_queue or (lambda region, url: session(region).queue(url)),
                    time,
                    group,
                )
                if settings.heartbeat_file is not None:
                    group.start_soon(beat, settings.heartbeat_file, name="heartbeat")
                sinks = EventSinks(settings.events, group, time, lambda region: session(region).announcer())
                trackers = Trackers(open_trackers(settings.tracking), group)
                runner = cls(
                    settings,
                    store=store,
                    clock=time,
                    metrics=metrics or {},
                    wakeups_of=wakeups.of,
                    connect=connect or session,
                    open_dataset=open_dataset
                    or (lambda spec, revision: open_for(spec, settings, revision=revision)),
                    group=group,
                    watchers=[*watchers, sinks, trackers],
                )
                wakeups.on_trouble = runner.signal_trouble
                trackers.report_of = runner.report
                try:
                    yield runner
                finally:
                    with anyio.move_on_after(STOP_SECONDS, shield=True):
                        await runner.stop()
                    await sinks.close()
                    await trackers.close()
                    group.cancel_scope.cancel()

    @property
    def store(self) -> CheckpointStore:
        return self._store

    @property
    def catalogue(self) -> Catalogue:
        """The models that this runner knows, with the user's own file over the package's."""
        return self._catalogue

    async def prepare(self, spec: RunSpec, *, run_id: str | None = None) -> RunCreated | None:
        """
        Check all that can be checked before a run exists; creates nothing. None if the run exists already.

        Raises:
            ConfigurationError, DataError, AwsRefused: the run cannot work.
            RunExists: `run_id` is taken by a run of another spec.
            RunNotFound, UsageError: there is no run `model.from_run`, or it has no model.
        """
        if await self.existing(spec, run_id=run_id) is not None:
            return None
        chosen = _chosen(spec, run_id)
        region = self._settings.region or spec.aws.region or ""
        profile = check_spec(spec, self._catalogue, region, self._settings.metric_modules)
        await self._look_up_prices(profile, region)
        parent = None if spec.model.from_run is None else await self.get(spec.model.from_run)
        return await prepare(spec, chosen, uuid.uuid4().hex, VERSION, self._ports(region, chosen), parent)

    async def _look_up_prices(self, profile: ModelProfile, region: str) -> None:
        if profile.base_id in self._listed:
            return
        looked = await look_up(profile, self._connect(region).prices, now=self._clock.now())
        self._listed[profile.base_id] = looked.prices
        self._price_troubles[profile.base_id] = looked.troubles
        self._catalogue = priced_catalogue(self._settings, self._listed)

    def price_troubles(self, spec: RunSpec) -> tuple[str, ...]:
        """Why prices of the spec's model are not AWS's of today, in a sentence each."""
        return self._price_troubles.get(spec.model.base, ())

    async def existing(self, spec: RunSpec, *, run_id: str | None = None) -> Run | None:
        """
        The run that `start` would continue; None if it would create one.

        Raises:
            RunExists: the run of that name was started from another spec.
        """
        chosen = await self.id_of(spec, run_id)
        run = await self._existing(chosen)
        if run is not None and not _is_of(run, spec):
            raise RunExists(
                f"Run '{chosen}' exists, and was started from another spec.",
                hint=f"Continue it with: vlm-runner resume {chosen}. Or choose another --run-id.",
            )
        return run

    async def preview(self, created: RunCreated, *, like: RunCreated | None = None) -> RunPreview:
        """
        What the run that `prepare` described would find, upload, create and cost. Reads only.

        `like` is a run on the same data that was looked at before: the data is then not read again.
        """
        return await preview_run(created, self._ports(created.region, created.run_id), like=like)

    async def prepare_serving(
        self, run_id: str, options: ServeOptions | None = None, *, serving_id: str | None = None
    ) -> RunCreated:
        """
        The run that `serve` would create or continue; creates nothing.

        Raises:
            RunNotFound, UsageError: there is no such run, it is not done, or it trained no model.
            RunExists: the model is being served in another way.
            ConfigurationError, AwsRefused: the model cannot be served.
        """
        origin = await self.get(run_id)
        if origin.created.serves is not None:
            # What one serving asked is not what the next one asks: the run that trained has the rows.
            origin = await self.get(origin.created.serves.run_id)
        options = options or ServeOptions(seconds=None)
        profile = self._catalogue.find(origin.spec.model.base)
        await self._look_up_prices(profile, origin.region)
        name, there = await self._serving_of(origin.run_id, serving_id)
        prepared = await prepare_serving(
            origin,
            options,
            run_id=name,
            uid=uuid.uuid4().hex,
            version=VERSION,
            ports=self._ports(origin.region, name),
        )
        return prepared if there is None else _same_serving(there, prepared)

    async def _serving_of(self, source: str, chosen: str | None) -> tuple[str, Run | None]:
        """The id of the run that serves, and that run if it is there; without `chosen` it is not done."""
        if chosen is not None:
            return checked_run_id(chosen), await self._existing(chosen)
        name, number = default_serving_id(source), 1
        while (there := await self._existing(name)) is not None and there.done:
            number += 1
            name = default_serving_id(source, number)
        return name, there

    async def serve(
        self, run_id: str, options: ServeOptions | None = None, *, serving_id: str | None = None
    ) -> RunHandle:
        """
        Serve the model of a finished run again, by a run of its own that trains nothing. Without `options`
        until `cancel` ends it.

        That run's id is `serving_id`; by default `RUN-serve`, then `RUN-serve-2` and so on: given again while
        it is not done, it is continued.

        Raises:
            As `prepare_serving`; nothing was created.
        """
        created = await self.prepare_serving(run_id, options, serving_id=serving_id)
        await self.create(created)
        # Another process may have been first to create it.
        _same_serving(await self.get(created.run_id), created)
        return await self.resume(created.run_id)

    async def ask(self, run_id: str, inquiry: Inquiry) -> AsyncIterator[str | Answered]:
        """
        Ask the model of a run, which is being served, one question; changes nothing of any run.

        Yields the answer in pieces as it is written, and in the end all that is known of it.

        Raises:
            RunNotFound, CheckpointError: the run does not exist, or cannot be read.
            NotServed: neither the run nor one that serves its model (`RUN-serve…`) has a live endpoint.
            UsageError, DataError: the question cannot be asked.
            AwsRefused, AwsUnavailable: it was not answered.
        """
        run = await self.get(run_id)
        serving = await self._live(run)
        endpoint = None if serving is None else endpoint_of(serving)
        if serving is None or endpoint is None:
            raise not_served(run, self._catalogue)
        try:
            async for piece in inquire(run, endpoint, inquiry, self._ports_of(run)):
                if isinstance(piece, str):
                    yield piece
                    continue
                by_the_hour = serving.spec.serving.mode is ServingMode.PROVISIONED
                profile = self._catalogue.find(run.spec.model.base)
                cost = profile.custom_call_cost(piece.input_tokens, piece.output_tokens)
                known_cost = None if by_the_hour or cost is None else float(cost)
                estimated = profile.prices.single_sourced(*CUSTOM_TOKENS)
                yield Answered(serving.run_id, endpoint, piece, known_cost, by_the_hour, estimated)
        except NotFound as error:
            # A kept endpoint is deleted by its switch, by reap or by its user, and no checkpoint says so.
            raise not_served(run, self._catalogue) from error

    async def _live(self, run: Run) -> Run | None:
        """The run itself, or the newest of those that serve its model, that has a live endpoint."""
        source = run.run_id if run.created.serves is None else run.created.serves.run_id
        candidates = [run]
        for name in await self._store.run_ids():
            if name.startswith(default_serving_id(source)):
                there = await self._existing(name)
                candidates += [] if there is None or there.created.serves is None else [there]
        live = [one for one in candidates if endpoint_of(one) is not None]
        return max(live, key=lambda one: one.created_at, default=None)

    async def prepare_deletion(self, run_id: str) -> RunDeletion:
        """
        What `delete` would delete, and who uses it; deletes nothing.

        Raises:
            RunNotFound, CheckpointError: the run does not exist, or cannot be read.
        """
        return await prepare_deletion(checked_run_id(run_id), self._store, self._clock)

    async def delete(self, run_id: str, *, told: Callable[[str], None] = lambda _: None) -> RunDeletion:
        """
        Delete a run that is done: its endpoint, its model, its folder, its checkpoint, those of the runs that
        served its model, and images and records that no other run of this store uses. `told` hears of each.

        Interrupted anywhere, it can be repeated. Runs of another store are not known here.

        Raises:
            RunNotFound, CheckpointError: the run does not exist (any more), or cannot be read.
            UsageError: another run uses its model, or it is not done; nothing was deleted.
            AwsRefused, AwsUnavailable: not all was deleted.
        """
        run = await self.get(run_id)
        return await delete_run(
            run_id,
            self._connect(run.region),
            self._store,
            self._clock,
            gone_after=self._settings.poll.gone_after,
            told=told,
        )

    async def create(self, created: RunCreated) -> str:
        """
        Save the run that `prepare` described, unless it exists; return its id.

        Raises:
            ConfigurationError: the store of checkpoints cannot keep two processes from driving one run, the
                keys under `storage.prefix` hold another dataset or prompt, or a metric cannot be loaded.
        """
        # Found missing only now would be found missing after the training is paid.
        load_metrics(created.spec.test.metrics, self._settings.metric_modules)
        first = Entry(sequence=1, at=self._clock.now(), event=created)
        run = Run.begin(first)
        await refuse_occupied(run, self._ports_of(run))
        if not self._proven:
            await self._store.prove()
            self._proven = True
        if await lease.create(self._store, first, run, clock=self._clock):
            self._bus.entry(run, first)
        return run.run_id

    async def start(
        self, spec: RunSpec, *, run_id: str | None = None, until: Phase | None = None, lint: bool = True
    ) -> RunHandle:
        """
        Create the run that `spec` describes and drive it, or continue it if it exists.

        Without `run_id` the id derives from the spec, so that the same spec is the same run. Every row and
        image is checked first, as the command line does, so that a bad one leaves no run; without `lint`
        staging finds it. For the checks of the account, see `vlm_runner.notebook` or `vlm-runner doctor`.

        Raises:
            ConfigurationError, DataError, AwsRefused: nothing was created.
            RunExists: `run_id` is taken by a run of another spec.
        """
        created = await self.prepare(spec, run_id=run_id)
        if created is not None:
            await self.create(await self._linted(created) if lint else created)
        return await self.resume(await self.id_of(spec, run_id), until=until)

    async def _linted(self, created: RunCreated) -> RunCreated:
        ports = self._ports(created.region, created.run_id)
        report = (await lint_run(created, ports, uid=created.uid))[1]
        refuse_findings(report, hint="See Runner.plan(spec).report. To start anyway, give lint=False.")
        return verified(created, report)

    async def resume(self, run_id: str, *, until: Phase | None = None) -> RunHandle:
        """
        Continue a run from its present phase; `until` is the last phase to drive.

        Raises:
            RunNotFound, CheckpointError: the run does not exist, or cannot be read.
        """
        if (driven := self._handles.get(run_id)) is not None:
            return driven
        checkpoint, _ = await lease.load(self._store, checked_run_id(run_id), clock=self._clock)
        if (driven := self._handles.get(run_id)) is not None:
            return driven  # begun while this one read
        driver = Driver(run_id, self._driving(), self._ports_of, self._bus)
        handle = RunHandle(run_id, self._store, driver, self)
        handle.begin(checkpoint)
        self._handles[run_id] = handle
        self._group.start_soon(self._drive, handle, until, name=f"run {run_id}")
        return handle

    async def _drive(self, handle: RunHandle, until: Phase | None) -> None:
        """Finished runs are dropped: a service may drive runs for years."""
        try:
            await handle.drive(until)
        finally:
            del self._handles[handle.run_id]

    async def get(self, run_id: str) -> Run:
        """
        The run as its checkpoint has it, whether or not a process drives it. Reads only.

        Raises:
            RunNotFound, CheckpointError: the run does not exist, or cannot be read.
        """
        checkpoint, _ = await lease.load(self._store, checked_run_id(run_id), clock=self._clock)
        return checkpoint.run

    async def scores(self, run: Run) -> dict[int, dict[str, float]]:
        """Of a finished run, what was measured of its fine-tuned model's answers, by row. Reads only."""
        if run.report is None:
            return {}
        found = await stored_scores(run, self._ports_of(run).bucket_of(run))
        return {row: by_model["tuned"] for row, by_model in sorted(found.items()) if "tuned" in by_model}

    def money(self, run: Run, history: Sequence[Entry], asked: TestAnswered | None = None) -> MoneyJson:
        """What a run has cost so far, as far as prices are known; `asked` is how far its test calls are."""
        profile = self._catalogue.known(run.spec.model.base)
        return money(run, history, profile, self._clock.now(), asked=asked)

    def money_so_far(self, run_id: str) -> MoneyJson | None:
        """Of a run that this runner drives now; None of any other."""
        handle = self._handles.get(run_id)
        return None if handle is None else handle.money()

    async def losses(self, run: Run) -> tuple[Curve, Curve]:
        """
        Training and validation loss, as far as Bedrock has written them; empty before.

        Raises:
            VlmRunnerError: S3 could not be read.
        """
        return await loss_curves(run, self._ports_of(run).bucket_of(run))

    async def plan(self, spec: RunSpec, *, run_id: str | None = None) -> Plan:
        """
        What `start` would upload, create and cost, with what lint finds. Reads only.

        Raises:
            ConfigurationError, DataError, AwsRefused: the run cannot work.
            RunExists: the run exists already, so that `start` would continue it.
        """
        created = await self.prepare(spec, run_id=run_id)
        if created is None:
            raise RunExists(f"Run '{await self.id_of(spec, run_id)}' exists: start continues it.")
        return self.plan_of(await self.preview(created))

    def plan_of(self, preview: RunPreview) -> Plan:
        """The plan of a run that does not exist yet."""
        created = preview.created
        return Plan(
            spec=created.spec,
            model=self._catalogue.find(created.spec.model.base).name,
            report=preview.report,
            cost=preview.cost,
            serving_reason=created.serving_reason,
            origins=(),
            created=created,
            resources=preview.resources,
            uploads=preview.uploads,
            budget=created.budget,
            price_troubles=self.price_troubles(created.spec),
            refusal=str(preview.conflict.error) if preview.conflict is not None else None,
        )

    def resume_command(self, run_id: str) -> str:
        """What continues a run from a shell with the same environment, as a line to paste."""
        flags = command_flags(
            profile=self._settings.profile,
            region=self._settings.region if self._store.uri.startswith("s3://") else None,
            endpoint_url=self._settings.endpoint_url,
            store=self._store.uri,
        )
        return shlex.join(["vlm-runner", "resume", run_id, *flags])

    async def report(self, run_id: str) -> RunReport:
        """
        All that is known of a run, as its page shows it, whether or not it is done. Reads only.

        What S3 does not give is named in the report.

        Raises:
            RunNotFound, CheckpointError: the run does not exist, or cannot be read.
        """
        from vlm_runner.report.assemble import assemble  # noqa: PLC0415 - only for who wants it

        checkpoint, _ = await lease.load(self._store, checked_run_id(run_id), clock=self._clock)
        run = checkpoint.run
        material = await collect(run, self._ports_of(run).bucket_of(run))
        profile = self._catalogue.known(run.spec.model.base)
        return await to_thread.run_sync(
            assemble, run, checkpoint.history, material, profile, self._clock.now()
        )

    async def track(self, run_id: str) -> list[str]:
        """
        Log all that is known of a run to the trackers of `settings.tracking`; return their names.

        Runs that are driven here are logged as they go; this is for those that a tracker has missed.

        Raises:
            ConfigurationError: the settings name no tracker, or the client of one is not installed.
            RunNotFound, CheckpointError: the run does not exist, or cannot be read.
            TrackerFailed: a tracker failed; the others have the run.
        """
        trackers = open_trackers(self._settings.tracking)
        if not trackers:
            raise ConfigurationError(
                "No tracker is set.", hint="Set VLM_RUNNER_TRACKING__MLFLOW, __WANDB or __TENSORBOARD."
            )
        run = tracked_run(await self.report(run_id))
        failed: list[str] = []
        for tracker in trackers:
            try:
                await to_thread.run_sync(tracker.log_run, run)
                await to_thread.run_sync(tracker.close)
            except Exception as error:  # noqa: BLE001 - clients of others raise anything
                failed.append(f"{tracker.name}: {reason_of(error)}")
        if failed:
            raise TrackerFailed(f"Run {run_id} was not logged everywhere. {' '.join(failed)}")
        return [tracker.name for tracker in trackers]

    async def stage(self, run_id: str, *, number: int, parts: int) -> ImagesStaged | None:
        """
        Upload share `number` (from 0) of `parts` of a run's images; None if it has them all.

        Needs no lease on the run, and changes nothing in it: markers beside the images say what is done.
        """
        checkpoint, _ = await lease.load(self._store, checked_run_id(run_id), clock=self._clock)
        run = checkpoint.run
        # A run that waits in RECORDING for images that were deleted gets them back with `verify`.
        verifies = run.phase is Phase.RECORDING and self._settings.upload.verify
        if run.phase is not Phase.STAGING and not verifies:
            return None
        ports = replace(self._ports_of(run), share=Share(number, parts))
        if run.places is None:
            # Whoever claims next, the run's driver or another machine, finds the same places.
            run = run.model_copy(update={"places": await claim_places(run, ports)})
        return await stage_images(run, ports)

    async def release(self, run_id: str) -> Run:
        """
        Delete the endpoint that a finished run was asked to keep, with its dead man's switch.

        Returns once it is seen to be gone; a run that has none, or none any more, is returned as it is.

        Raises:
            RunNotFound, CheckpointError: the run does not exist, or cannot be read.
            UsageError: the run is not done.
            RunTaken: another process does the same.
            AwsRefused, AwsUnavailable, ConfigurationError, Unsaved: it may be there and bill; repeat it.
        """
        run = await self.get(run_id)
        if not run.done:
            raise UsageError(
                f"Run {run_id} is not done: it is in phase {run.phase}.",
                hint=f"What it rents is released at its end; at once with: vlm-runner cancel {run_id}",
            )
        if run.handed_over is None or not run.may_bill:
            return run
        return await Driver(run_id, self._driving(), self._ports_of, self._bus).release_kept()

    async def request_cancel(self, run_id: str, reason: str = "") -> None:
        """
        Leave a mark that the run's driver obeys; this process need not drive it.

        Raises:
            RunNotFound: the run does not exist.
        """
        await lease.load(self._store, checked_run_id(run_id), clock=self._clock)
        await self._store.request_cancel(run_id, reason)

    async def id_of(self, spec: RunSpec, run_id: str | None = None) -> str:
        """The id under which `start` would run this spec, or under which an older version began to."""
        chosen, former = _chosen(spec, run_id), spec.former_fingerprint
        if run_id or former is None:
            return chosen
        older = default_run_id(spec.dataset.source, former)
        run = await self._existing(older)
        return chosen if run is None or not _is_of(run, spec) else older

    async def stop(self) -> None:
        """Stop driving all runs; returns when all effects in flight are recorded."""
        driven = list(self._handles.values())
        for handle in driven:
            handle.stop()
        for handle in driven:
            await handle.wait()

    def signal_trouble(self, doing: str, message: str) -> None:
        """Signal it to the watchers, for every run that is driven here."""
        for run_id in self._handles:
            self._bus.signal(run_id, Trouble(doing=doing, message=message))

    async def exists(self, run_id: str) -> bool:
        """Whether the store has a run of this id."""
        return await self._existing(checked_run_id(run_id)) is not None

    async def _existing(self, run_id: str) -> Run | None:
        try:
            checkpoint, _ = await lease.load(self._store, run_id, clock=self._clock)
        except RunNotFound:
            return None
        return checkpoint.run

    def _ports_of(self, run: Run) -> Ports:
        return self._ports(run.region, run.run_id)

    def _ports(self, region: str, run_id: str) -> Ports:
        def signal(value: Signal) -> None:
            self._bus.signal(run_id, value)

        return Ports(
            aws=self._connect(region),
            clock=self._clock,
            catalogue=self._catalogue,
            open_dataset=self._open_dataset,
            signal=signal,
            datasets=self._datasets,
            metrics=self._metrics,
            metric_modules=self._settings.metric_modules,
            wakeups=self._wakeups_of(region),
            poll=self._settings.poll,
            upload=self._settings.upload,
        )

    def _driving(self) -> Driving:
        return Driving(
            store=self._store,
            clock=self._clock,
            timing=self._settings.lease,
            holder=lambda: process_identity.this_process(VERSION),
            is_dead=process_identity.is_dead,
            cancel_every=self._settings.poll.cancel_every,
            quiet=timedelta(minutes=self._settings.quiet_minutes),
        )


class _Wakeups:
    """One listener for each region, all on the one queue; made when first needed."""

    def __init__(
        self, url: str | None, open_queue: Callable[[str, str], Queue], clock: Clock, group: TaskGroup
    ) -> None:
        self._url, self._open, self._clock, self._group = url, open_queue, clock, group
        self._made: dict[str, JobWakeups] = {}
        self.on_trouble: Callable[[str, str], None] = lambda _, __: None

    def of(self, region: str) -> JobWakeups | None:
        if self._url is None or region_of(self._url) not in {None, region}:
            return None
        if region not in self._made:
            listener = JobWakeups(
                self._open(region, self._url),
                self._clock,
                lambda message: self.on_trouble("listening to the queue", message),
            )
            self._made[region] = listener
            self._group.start_soon(listener.listen, name=f"queue of {region}")
        return self._made[region]


class _Handles:
    """Feeds `RunHandle.events`."""

    def __init__(self, handles: dict[str, RunHandle]) -> None:
        self._handles = handles

    def on_entry(self, run: Run, entry: Entry) -> None:
        if (handle := self._handles.get(run.run_id)) is not None:
            handle.on_entry(run, entry)

    def on_signal(self, run_id: str, signal: Signal) -> None:
        if (handle := self._handles.get(run_id)) is not None:
            handle.on_signal(signal)


def _chosen(spec: RunSpec, run_id: str | None) -> str:
    return checked_run_id(run_id) if run_id else default_run_id(spec.dataset.source, spec.fingerprint)


def _is_of(run: Run, spec: RunSpec) -> bool:
    """Whether `run` was started from `spec`, by this version or by one that had another default mode."""
    made = run.created.spec_fingerprint
    return made == spec.fingerprint or (
        made == spec.former_fingerprint and run.spec.serving.mode is spec.serving.mode
    )


def _same_serving(there: Run, asked: RunCreated) -> RunCreated:
    """What the run that is there was created as, if that is what was asked for."""
    if there.created.spec_fingerprint == asked.spec_fingerprint:
        return there.created
    raise RunExists(
        f"Run '{there.run_id}' serves this model already, with other options.",
        hint=f"Continue it with: vlm-runner resume {there.run_id}. "
        f"Or end it with: vlm-runner cancel {there.run_id}",
    )


def _session(settings: Settings, region: str, stack: AsyncExitStack) -> AwsSession:
    from vlm_runner.aws.session import AwsSession  # noqa: PLC0415

    session = AwsSession(
        region=region,
        profile=settings.profile,
        endpoint_url=settings.endpoint_url,
        connections=max(16, settings.upload.concurrency),
        engine=settings.upload.engine,
    )
    stack.push_async_exit(session)
    return session
