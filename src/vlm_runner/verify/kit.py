"""
One verification: level by level, each after the one before, resumable at any point.

Two things are kept. The recording holds what AWS did: what is in it is not asked again. The state, a small
checkpoint of its own, holds the name that everything gets which is created, and is saved before anything is;
so a process that was killed leaves nothing that the next one, or a sweep, would not find. What costs is
created as a run creates it: under a name and a token that derive from what is saved, looked up first, and at
most once.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from dataclasses import replace as changed
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from vlm_runner import preflight
from vlm_runner.atomic_file import replacing
from vlm_runner.aws.session import AwsSession
from vlm_runner.checkpoint.local import LocalStore
from vlm_runner.core.intents import intend_job
from vlm_runner.core.names import VERIFY_PREFIX, bucket_name
from vlm_runner.core.outcome import Outcome
from vlm_runner.core.pace import LOOKS_UNTIL_GONE, between_looks
from vlm_runner.core.retry import STEP
from vlm_runner.core.run import Phase
from vlm_runner.errors import (
    AwsRefused,
    AwsUnavailable,
    CheckpointError,
    ConfigurationError,
    NotFound,
    RunTaken,
)
from vlm_runner.prices.usage_types import usage_types
from vlm_runner.retry import attempts
from vlm_runner.runner import Runner
from vlm_runner.sample import sample_folder
from vlm_runner.verify.assumptions import DENIED, TABLE, judged
from vlm_runner.verify.levels import NEEDS_BUDGET, check_wanted, run_spec
from vlm_runner.verify.recording import Header, Recording
from vlm_runner.verify.redaction import Redactor
from vlm_runner.verify.requests import Subject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from vlm_runner.aws.exchange import RawExchange
    from vlm_runner.aws.leftovers import Leftover
    from vlm_runner.bus import Watcher
    from vlm_runner.clock import Clock
    from vlm_runner.models import ModelProfile
    from vlm_runner.settings import Settings
    from vlm_runner.spec import RunSpec
    from vlm_runner.verify.assumptions import Assumption
    from vlm_runner.verify.judges import Judgement
    from vlm_runner.verify.recording import Exchange

    Heard = Callable[[RawExchange], None]

STATE: Final = "verification"
RECORDING: Final = "recording.jsonl"
RUNS: Final = "runs"

CREATES_JOB: Final = "2.8"
"""The assumption whose request costs: what it asks for is looked up first."""

DUE: Final = timedelta(minutes=2)
"""From now until the schedules of level 2 are due: they must be created before."""

PATIENCE: Final = 20 * 60.0
"""Seconds for which an assumption is asked about again; stopping a job takes a minute or two."""

SWEEP_PATIENCE: Final = 45 * 60.0
"""Seconds until a sweep gives up: Bedrock deletes no throughput that is still Creating, for half an hour."""


class State(BaseModel):
    """What a verification must not forget."""

    model_config = ConfigDict(extra="forbid")

    format: int = 1
    uid: str
    key: str
    """Of the placeholders of its recording, in hex."""
    account: str
    region: str
    role_arn: str
    model: str
    began: datetime
    passed: list[int] = []

    @property
    def name(self) -> str:
        return f"{VERIFY_PREFIX}{self.uid}"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    assumption: Assumption
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of it."""

    rows: tuple[Row, ...]
    passed: tuple[int, ...]
    left: tuple[Leftover, ...] = ()
    """What the sweep could not take away."""
    held: str | None = None
    """Why it did not go as far as was wanted."""

    def count(self, verdict: str) -> int:
        return sum(row.judgement.verdict == verdict for row in self.rows)


def table(exchanges: Sequence[Exchange], levels: Iterable[int]) -> tuple[Row, ...]:
    """What a recording says about all assumptions of these levels. Pure."""
    wanted = set(levels)
    return tuple(Row(each, judged(each, exchanges)) for each in TABLE if each.level in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How far to go, and for what at most."""

    level: int
    max_cost: float | None = None
    rent: bool = False
    accept: Collection[str] = ()
    """Ids of assumptions that AWS may contradict, and still what costs is asked for."""


class Verification:
    """One that is open: made by `opened`."""

    def __init__(
        self,
        spec: RunSpec,
        profile: ModelProfile,
        settings: Settings,
        folder: Path,
        *,
        session: AwsSession,
        recording: Recording,
        store: LocalStore,
        state: State,
        etag: str,
        clock: Clock,
        watchers: Iterable[Watcher],
    ) -> None:
        self._spec, self._profile, self._settings, self._folder = spec, profile, settings, folder
        self._session, self.recording, self._store = session, recording, store
        self._state, self._etag, self._clock = state, etag, clock
        self._watchers = tuple(watchers)
        self._subject = _subject(spec, profile, state)

    @property
    def passed(self) -> tuple[int, ...]:
        return tuple(self._state.passed)

    @property
    def name(self) -> str:
        """With which the names of all that it creates begin."""
        return self._state.name

    async def go(self, wanted: Wanted, *, before: Callable[[int], None] = lambda _: None) -> Verified:
        """
        All levels up to the wanted one that have not been passed; `before` is told each.

        Raises:
            ConfigurationError: the level needs what was not given, or the credentials are another account's.
            AwsRefused, AwsUnavailable: it could not be ended; going again continues it.
        """
        check_wanted(self._spec, wanted.level, max_cost=wanted.max_cost, rent=wanted.rent)
        caller = await self._session.account.caller()
        preflight.refuse(preflight.role_problems(self._spec, caller))
        for level in range(wanted.level + 1):
            if level in self._state.passed:
                continue
            if (held := self._held(level, wanted.accept)) is not None:
                return self.result(level, held=held)
            before(level)
            self.recording.level = level
            failed = await self._perform(level, wanted.max_cost or 0.0)
            if left := await self.sweep(level):
                return self.result(level + 1, left=left)
            if failed is not None:
                return self.result(level + 1, held=failed)
            self._state.passed.append(level)
            await self._save()
        return self.result(wanted.level + 1)

    def result(
        self, below: int | None = None, *, left: Sequence[Leftover] = (), held: str | None = None
    ) -> Verified:
        """What the recording says of the levels `below` (None: all that were begun)."""
        levels = [each.level for each in self.recording.exchanges] if below is None else range(below)
        return Verified(table(self.recording.exchanges, levels), self.passed, tuple(left), held)

    def _held(self, level: int, accept: Collection[str]) -> str | None:
        """What speaks against asking for what costs."""
        if level < NEEDS_BUDGET:
            return None
        against = [
            row.assumption.id
            for row in table(self.recording.exchanges, range(level))
            if row.judgement.verdict == "different" and row.assumption.vital
        ]
        against = [one for one in against if one not in accept]
        if not against:
            return None
        flags = " ".join(f"--accept {one}" for one in against)
        return (
            f"AWS did otherwise than {', '.join(against)} assumes, so level {level} was not begun. "
            f"Go on in spite of it with: {flags}"
        )

    async def _perform(self, level: int, max_cost: float) -> str | None:
        """The level without its sweep; why it is not passed, if it is not."""
        self._subject = changed(self._subject, due=self._clock.now() + DUE)
        if level == 1:
            await self._session.account.ensure_bucket(
                self._subject.bucket, account=self._state.account, region=self._state.region
            )
        if level == NEEDS_BUDGET:
            await self._prepare_switch()
            self._subject = changed(self._subject, job=await self._staged_job(max_cost))
        if level > NEEDS_BUDGET:
            return await self._whole_run(level, max_cost)
        for assumption in TABLE:
            if assumption.level == level and assumption.ask is not None:
                await self._settle(assumption)
        return None

    # --- asking

    async def _settle(self, assumption: Assumption) -> None:
        began, looks = self._clock.elapsed(), 0
        while not self._is_settled(assumption):
            if not await self._ask(assumption) or not assumption.repeat:
                return
            over = self._clock.elapsed() - began >= PATIENCE
            if over or self.recording.exchanges[-1].code in DENIED or self._is_settled(assumption):
                return
            await self._clock.sleep(self._settings.poll.delay(looks, self._clock.chance()))
            looks += 1

    def _is_settled(self, assumption: Assumption) -> bool:
        if not assumption.repeat:
            return bool(self.recording.of(assumption.id))
        return judged(assumption, self.recording.exchanges).verdict != "unknown"

    async def _ask(self, assumption: Assumption) -> bool:
        """Whether there was something to ask. A refusal is an answer; it is in the recording."""
        request = assumption.ask(self._subject) if assumption.ask is not None else None
        if request is None:
            return False
        if assumption.id == CREATES_JOB and await self._session.bedrock.find_job(
            self._subject.job["jobName"]
        ):
            return False  # created by an earlier process, whose answer was lost
        self.recording.probe = assumption.id
        try:
            async for attempt in attempts(self._clock, STEP, AwsUnavailable):
                with attempt:
                    await self._session.service(request.service).call(request.operation, **request.parameters)
        except AwsRefused:
            pass
        finally:
            self.recording.probe = ""
        return True

    # --- level 2

    async def _prepare_switch(self) -> None:
        """A queue for dead letters. Creating it again is the same queue."""
        if self._subject.switch_role_arn is None:
            return
        sqs = self._session.service("sqs")
        url = (await sqs.call("CreateQueue", QueueName=f"{self.name}-letters")).text("QueueUrl")
        answer = await sqs.call("GetQueueAttributes", QueueUrl=url, AttributeNames=["QueueArn"])
        arn = answer.part("Attributes").arn("QueueArn")
        self._subject = changed(self._subject, queue_url=url, queue_arn=arn)

    async def _staged_job(self, max_cost: float) -> dict[str, Any]:
        """The request that a run would send, once its images and records are in S3."""
        async with self._runner() as runner:
            handle = await runner.start(
                await self._run_spec(2, max_cost), run_id=self._run_id(2), until=Phase.RECORDING
            )
            return intend_job(await handle.result()).request

    # --- levels 3 and 4

    async def _whole_run(self, level: int, max_cost: float) -> str | None:
        async with self._runner() as runner:
            handle = await runner.start(await self._run_spec(level, max_cost), run_id=self._run_id(level))
            run = await handle.result()
        if run.outcome is Outcome.SUCCEEDED:
            return None
        return (
            f"The run of level {level} ended as {run.outcome}: see vlm-runner status {run.run_id} "
            f"--store {self._folder / RUNS}. Another folder begins anew."
        )

    @asynccontextmanager
    async def _runner(self) -> AsyncIterator[Runner]:
        settings = self._settings.model_copy(
            update={
                "checkpoint_uri": str(self._folder / RUNS),
                "region": self._state.region,
                "queue_url": None,
            }
        )
        async with Runner.open(
            settings, connect=lambda _: self._session, clock=self._clock, watchers=self._watchers
        ) as runner:
            yield runner

    def _run_id(self, level: int) -> str:
        return f"verify-{self._state.uid}-{level}"

    async def _run_spec(self, level: int, max_cost: float) -> RunSpec:
        data = self._folder / "data"
        await to_thread.run_sync(write_rows, data, self._profile.records.minimum)
        return run_spec(
            self._spec, self._profile, level, data=data, folder=self._subject.folder, max_cost=max_cost
        )

    # --- the sweep

    async def sweep(self, level: int) -> list[Leftover]:
        """
        Take away all that carries the name of this verification; return what is still there in the end.

        Empty means: seen to be empty, after what it created was old enough to be listed.
        """
        leftovers, pace = self._session.leftovers(), self._settings.poll
        wanted = LOOKS_UNTIL_GONE if level >= NEEDS_BUDGET else 1
        began, empty, looks = self._clock.elapsed(), 0, 0
        while True:
            found = await leftovers.find(self.name)
            empty = 0 if found else empty + 1
            if empty >= wanted:
                await self._delete_objects()
                return []
            if self._clock.elapsed() - began >= SWEEP_PATIENCE:
                return found
            for one in found:
                await leftovers.remove(one)
            between = between_looks(pace.gone_after)
            await self._clock.sleep(pace.delay(looks, self._clock.chance()) if found else between)
            looks += 1

    async def _delete_objects(self) -> None:
        objects = self._session.state_objects(self._subject.bucket, owner=self._state.account)
        try:
            keys = [item.key async for item in objects.list(self._subject.folder)]
        except NotFound:
            return  # there is no bucket yet
        for key in keys:
            await objects.delete(key)

    async def _save(self) -> None:
        body = self._state.model_dump_json(indent=2).encode()
        self._etag = await self._store.write(STATE, body, replacing=self._etag)


@asynccontextmanager
async def opened(
    spec: RunSpec,
    profile: ModelProfile,
    settings: Settings,
    folder: Path,
    *,
    clock: Clock,
    watchers: Iterable[Watcher] = (),
    connect: Callable[[Settings, Heard], AbstractAsyncContextManager[AwsSession]] | None = None,
) -> AsyncIterator[Verification]:
    """
    The verification of this folder, begun or continued; `connect` replaces the session, for tests.

    Raises:
        ConfigurationError: no region, or the folder holds a verification of something else.
        CheckpointError: what is in the folder cannot be read.
        RunTaken: another process works in it.
    """
    region = settings.region or ""
    preflight.refuse(preflight.region_problems(profile, region))
    await to_thread.run_sync(partial(folder.mkdir, parents=True, exist_ok=True))
    try:
        lock = FileLock(folder / "lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise RunTaken(f"Another process verifies in {folder}.") from None
    try:
        store = LocalStore(folder / "state")
        state, etag = await _state(spec, store, region, folder, clock)
        subject = _subject(spec, profile, state)
        redactor = Redactor(bytes.fromhex(state.key), uid=state.uid, secrets=_secrets(subject))
        recording = Recording(folder / RECORDING, redactor, _header(subject, state, redactor))

        def heard(raw: RawExchange) -> None:
            recording.hear(raw, seconds=(clock.now() - state.began).total_seconds())

        try:
            async with (connect or _session)(settings, heard) as session:
                yield Verification(
                    spec,
                    profile,
                    settings,
                    folder,
                    session=session,
                    recording=recording,
                    store=store,
                    state=state,
                    etag=etag,
                    clock=clock,
                    watchers=watchers,
                )
        finally:
            recording.close()
    finally:
        lock.release()


def _session(settings: Settings, heard: Heard) -> AwsSession:
    return AwsSession(
        region=settings.region or "",
        profile=settings.profile,
        endpoint_url=settings.endpoint_url,
        engine="aioboto3",  # what obstore uploads is not heard
        heard=heard,
    )


async def _state(
    spec: RunSpec, store: LocalStore, region: str, folder: Path, clock: Clock
) -> tuple[State, str]:
    role = spec.training.role_arn
    stored = await store.read(STATE)
    if stored is None:
        state = State(
            uid=secrets.token_hex(4),
            key=secrets.token_hex(32),
            account=role.split(":")[4],
            region=region,
            role_arn=role,
            model=spec.model.base,
            began=clock.now(),
        )
        # Before anything is asked: what is created must be found again under this name.
        return state, await store.write(STATE, state.model_dump_json(indent=2).encode(), replacing=None)
    try:
        state = State.model_validate_json(stored.body)
    except ValidationError as error:
        raise CheckpointError(f"{folder} holds a verification that this version cannot read.") from error
    if (state.region, state.role_arn, state.model) != (region, role, spec.model.base):
        raise ConfigurationError(
            f"{folder} holds a verification of {state.model} with {state.role_arn} in {state.region}.",
            hint="Name another --folder for this one.",
        )
    return state, stored.version


def _subject(spec: RunSpec, profile: ModelProfile, state: State) -> Subject:
    switch = spec.serving.dead_man_switch
    return Subject(
        account=state.account,
        partition=spec.training.role_arn.split(":")[1],
        region=state.region,
        bucket=bucket_name(spec.storage.bucket, state.account, state.region),
        # Where the role of any spec may read and write: see `doctor.documents.role_policy`.
        folder=f"{spec.storage.prefix}runs/verify-{state.uid}/",
        name=state.name,
        role_arn=spec.training.role_arn,
        switch_role_arn=switch.role_arn if switch is not None else None,
        base_model=profile.base_id,
        inference_model=profile.inference_id,
        model_name=profile.name,
        units_quota=profile.quotas.model_units_code,
        training_usage=usage_types(profile).get("training_per_million_tokens"),
    )


def _secrets(subject: Subject) -> list[str]:
    roles = (subject.role_arn, subject.switch_role_arn or "")
    names = [part for role in roles for part in role.partition(":role/")[2].split("/")]
    return [subject.account, subject.bucket, *names]


def _header(subject: Subject, state: State, redactor: Redactor) -> Header:
    given = {
        "name": redactor.text(subject.name),
        "bucket": redactor.text(subject.bucket),
        "role_arn": redactor.text(subject.role_arn),
        "model": subject.base_model,
    }
    if subject.switch_role_arn is not None:
        given["switch_role_arn"] = redactor.text(subject.switch_role_arn)
    versions = {name: version(name) for name in ("vlm-runner", "aiobotocore", "botocore")}
    return Header(
        date=state.began.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        region=state.region,
        versions={**versions, "python": python_version()},
        given=given,
    )


def write_rows(folder: Path, count: int) -> None:
    """`count` rows of the sample that comes with the package, repeated as often as it takes."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import, and not for levels 0 and 1
    from pyarrow import parquet  # noqa: PLC0415

    path = folder / "train.parquet"
    if path.exists():
        return
    rows = parquet.read_table(sample_folder() / "train.parquet")
    times = -(-count // rows.num_rows)
    with replacing(path) as made:
        parquet.write_table(pa.concat_tables([rows] * times).slice(0, count), made)
