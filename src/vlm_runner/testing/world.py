"""Everything outside of a process: AWS, the checkpoint store, and a watcher."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from vlm_runner.aws.ports import Caller, ListedPrice
from vlm_runner.checkpoint.document import from_bytes
from vlm_runner.checkpoint.s3 import S3Store
from vlm_runner.checkpoint.timing import LeaseSettings
from vlm_runner.core.names import default_serving_id
from vlm_runner.core.transitions import fold
from vlm_runner.runner import Runner
from vlm_runner.settings import PollSettings, Settings, UploadSettings
from vlm_runner.spec import RunSpec
from vlm_runner.testing.bedrock import FakeBedrock
from vlm_runner.testing.dataset import TinyDataset
from vlm_runner.testing.faults import Crash, Plan, Process, ProcessAws, store_of
from vlm_runner.testing.objects import FakeObjects, FakeS3
from vlm_runner.testing.scheduler import FakeScheduler
from vlm_runner.testing.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from vlm_runner.aws.ports import Encryption, Objects, RuntimeReply
    from vlm_runner.checkpoint.base import CheckpointStore
    from vlm_runner.checkpoint.document import Checkpoint
    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Phase, Run
    from vlm_runner.core.signals import Signal
    from vlm_runner.runner import RunHandle
    from vlm_runner.steps.prepare_serving import ServeOptions

T = TypeVar("T")

ACCOUNT = "123456789012"
STATE_BUCKET = "checkpoints"


class FakeAccount:
    def __init__(self, s3: FakeS3) -> None:
        self._s3 = s3

    async def caller(self) -> Caller:
        await checkpoint()
        return Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/somebody", "aws")

    async def ensure_bucket(self, bucket: str, *, account: str, region: str) -> bool:  # noqa: ARG002
        await checkpoint()
        new = bucket not in self._s3.buckets
        self._s3.make_bucket(bucket, account)
        return new


class FakePriceList:
    """Lists nothing, so that the catalogue's own prices count."""

    async def source(self) -> str:
        return "memory:"

    async def find(self, region: str, usage_type: str) -> ListedPrice | None:  # noqa: ARG002
        return None


class FakeRuntime:
    def __init__(self, bedrock: FakeBedrock) -> None:
        self._bedrock = bedrock

    async def converse(self, request: Mapping[str, Any]) -> RuntimeReply:
        return await self._bedrock.reply(str(request["modelId"]))

    async def converse_stream(self, request: Mapping[str, Any]) -> AsyncIterator[str | RuntimeReply]:
        reply = await self._bedrock.reply(str(request["modelId"]))
        for word in reply.text.split(" "):
            yield word if reply.text.startswith(word) else f" {word}"
        yield reply

    async def invoke(
        self,
        model_id: str,
        body: bytes,  # noqa: ARG002
        read: Callable[[dict[str, Any]], T],
    ) -> T:
        await self._bedrock.reply(model_id)
        return read({})


class FakeAws:
    """The port `Aws`, in memory."""

    def __init__(self, bedrock: FakeBedrock | None = None, s3: FakeS3 | None = None) -> None:
        self.region = "us-east-1"
        self.s3 = s3 or FakeS3()
        self.bedrock = bedrock or FakeBedrock()
        self.runtime = FakeRuntime(self.bedrock)
        self.account = FakeAccount(self.s3)
        self.prices = FakePriceList()
        self.scheduler = FakeScheduler(self.bedrock.delete_by_name)
        self.bedrock.before_each = self.scheduler.settle

    def objects(
        self,
        bucket: str,
        *,
        owner: str | None,
        encryption: Encryption | None = None,  # noqa: ARG002 - nothing here shows it
    ) -> Objects:
        return FakeObjects(self.s3, bucket, owner)


def tiny_spec(**sections: Any) -> RunSpec:
    """A spec for TinyDataset, provisioned unless told otherwise; `sections` replace its own."""
    sections["serving"] = {"mode": "provisioned"} | sections.get("serving", {})
    return RunSpec.from_table(
        {
            "dataset": {"source": "tiny"},
            "prompt": {"user": "Judge {{ page }}.", "assistant": "{{ output }}"},
            "model": {"base": "amazon.nova-lite-v1:0:300k"},
            "training": {"role_arn": f"arn:aws:iam::{ACCOUNT}:role/bedrock-sft"},
            "test": {"rows": 1},
            **sections,
        }
    )


class World:
    """
    One AWS account with its checkpoints; `process()` gives processes that work in it, one after another or
    at once.

    `saved` has every checkpoint that any process stored, in order; `told` every event that a watcher saw.
    """

    def __init__(
        self, *, bedrock: FakeBedrock | None = None, store: CheckpointStore | str = "memory", **sections: Any
    ) -> None:
        self.aws = FakeAws(bedrock)
        self.bedrock = self.aws.bedrock
        self.spec = tiny_spec(**sections)
        self.run_id = "cats"
        self._serving: ServeOptions | None = None
        self.saved: list[Checkpoint] = []
        self.told: list[Entry] = []
        self._latest: Run | None = None
        self.signals: list[Signal] = []
        self.dataset = TinyDataset()
        self._in_s3 = store == "s3"
        self.aws.s3.make_bucket(STATE_BUCKET, ACCOUNT)
        if store == "s3":
            self.store: CheckpointStore = S3Store(self._state_objects(), "vr")
        elif isinstance(store, str):
            self.store = _Recording(MemoryStore(), self.saved)
        else:
            self.store = _Recording(store, self.saved)
        self.settings = Settings(
            region="us-east-1",
            poll=PollSettings(first=5.0, longest=20.0, cancel_every=20.0),
            upload=UploadSettings(concurrency=1),
            lease=LeaseSettings(),
        )

    def process(self, plan: Plan | None = None, **named: Any) -> Process:
        return Process(plan, **named)

    @asynccontextmanager
    async def runner(self, process: Process | None = None) -> AsyncIterator[Runner]:
        """A runner that reaches the world through `process`."""
        process = process or Process()
        aws = ProcessAws(process, self.aws)
        async with Runner.open(
            self.settings,
            clock=process.clock,
            store=self._store_for(process),
            connect=lambda _: aws,
            open_dataset=self.dataset,
            watchers=[self],
        ) as runner:
            yield runner

    async def serve_again(self, options: ServeOptions) -> None:
        """Finish the run undisturbed; from here on, `live` serves its model by a run of its own."""
        await self.live()
        self._serving, self.run_id = options, default_serving_id(self.run_id)
        self.saved.clear()
        self.told.clear()
        self._latest = None

    @property
    def latest(self) -> Run | None:
        """The run as the process that last recorded something knows it; None before that."""
        return self._latest

    async def _begin(self, runner: Runner, until: Phase | None) -> RunHandle:
        if self._serving is None:
            # As with --no-lint: what staging does about a bad row is tested too.
            return await runner.start(self.spec, run_id=self.run_id, until=until, lint=False)
        return await runner.serve(self.run_id.removesuffix("-serve"), self._serving, serving_id=self.run_id)

    async def live(self, process: Process | None = None, *, until: Phase | None = None) -> Run:
        """Start the run or go on with it, as one process does, and return what came of it."""
        process = process or Process()
        async with self.runner(process) as runner:
            handle = await self._begin(runner, until)
            process.stop = handle.stop
            try:
                return await handle.result()
            finally:
                process.stop = None

    async def cancel(self, reason: str = "by a test") -> None:
        await self.store.request_cancel(self.run_id, reason)

    def on_entry(self, run: Run, entry: Entry) -> None:
        self._latest = run
        self.told.append(entry)

    def on_signal(self, run_id: str, signal: Signal) -> None:  # noqa: ARG002
        self.signals.append(signal)

    async def outcome(self) -> Checkpoint:
        """The stored checkpoint."""
        found = await self.store.read(self.run_id)
        if found is None:
            raise LookupError(self.run_id)
        return from_bytes(found.body, where="the store")

    async def violations(self) -> list[str]:
        """
        What is wrong once a run is over; empty is good.

        One job that trained, no endpoint left without notice, one line of checkpoints, and no event that a
        watcher saw and the store lost.
        """
        last = await self.outcome()
        self.aws.scheduler.settle()
        # In a run that serves, the job is the one of the run that trained.
        found = [] if last.run.done else [f"not done, but {last.run.phase}"]
        if self.bedrock.jobs_billed > 1:
            found.append(f"{self.bedrock.jobs_billed} jobs")
        kept = last.run.handed_over.arn if last.run.handed_over is not None else None
        if left := [arn for arn in self.bedrock.alive if arn != kept]:
            found.append(f"left alive: {left}")
        if last.run.cancelled is not None and (training := self.bedrock.training()):
            found.append(f"still training: {training}")
        found += self._broken_lines(last)
        known = {entry.sequence: entry for entry in last.history}
        found += [f"told and lost: {one.event.kind}" for one in self.told if known.get(one.sequence) != one]
        if fold(last.history) != last.run:
            found.append("the history does not lead to the run")
        requests = [paid.request for paid in self.bedrock.ledger]
        found += ["a commitment was bought" for request in requests if "commitmentDuration" in request]
        return found

    def _broken_lines(self, last: Checkpoint) -> list[str]:
        found: list[str] = []
        for before, after in zip(self.saved, self.saved[1:], strict=False):
            if after.previous_write_id != before.write_id:
                found.append(f"fork at epoch {after.epoch}")
            if after.epoch < before.epoch or after.history[: len(before.history)] != before.history:
                found.append(f"went back at epoch {after.epoch}")
        if self.saved and self.saved[-1].write_id != last.write_id:
            found.append("the store does not hold the last save")
        return found

    def _state_objects(self) -> Objects:
        return _RecordingObjects(self.aws.s3, self.saved)

    def _store_for(self, process: Process) -> Any:
        if self._in_s3:
            return S3Store(process.wrap(self._state_objects(), "state"), "vr")
        return store_of(process, self.store)


async def outlive(world: World, process: Process) -> Run:
    """
    Let `process` freeze where its plan says, let another one take over and finish, and wake the first.

    Returns the run as the other one left it; the first must come to no harm, and do none.
    """
    async with anyio.create_task_group() as group:

        async def first() -> None:
            try:
                await world.live(process)
            except (Exception, Crash) as error:  # noqa: BLE001 - losing is expected here
                process.trace.append(f"ended: {type(error).__name__}")
            process.frozen.set()

        group.start_soon(first)
        await process.frozen.wait()
        run = await world.live()
        process.thaw()
    return run


class _Recording:
    """A store that keeps a copy of every document that was stored."""

    def __init__(self, store: CheckpointStore, saved: list[Checkpoint]) -> None:
        self._store, self._saved = store, saved
        self.locate = store.locate
        self.prove = store.prove
        self.read = store.read
        self.run_ids = store.run_ids
        self.delete = store.delete
        self.request_cancel = store.request_cancel
        self.cancel_reason = store.cancel_reason

    @property
    def uri(self) -> str:
        return self._store.uri

    async def write(self, run_id: str, body: bytes, *, replacing: str | None) -> str:
        version = await self._store.write(run_id, body, replacing=replacing)
        self._saved.append(from_bytes(body, where="a save"))
        return version


class _RecordingObjects(FakeObjects):
    def __init__(self, s3: FakeS3, saved: list[Checkpoint]) -> None:
        super().__init__(s3, STATE_BUCKET, ACCOUNT)
        self._saved = saved

    async def put_if(self, key: str, body: bytes, *, replacing: str | None) -> str | None:
        stored = await super().put_if(key, body, replacing=replacing)
        if stored is not None and key.endswith("/state.json"):
            self._saved.append(from_bytes(body, where="a save"))
        return stored
