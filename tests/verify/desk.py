"""A sandbox in this process, and verifications in it that may be killed."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

from vlm_runner.aws.session import AwsSession
from vlm_runner.checkpoint import process_identity
from vlm_runner.checkpoint.timing import LeaseSettings
from vlm_runner.clock import SystemClock
from vlm_runner.models import load_catalogue
from vlm_runner.sandbox import Sandbox, SandboxOptions
from vlm_runner.settings import PollSettings, Settings
from vlm_runner.spec import RunSpec
from vlm_runner.verify.kit import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vlm_runner.aws.exchange import RawExchange
    from vlm_runner.verify.kit import Verified, Wanted

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/bedrock-sft"
SWITCH_ROLE = f"arn:aws:iam::{ACCOUNT}:role/vlm-runner-switch"
BUCKET = f"vlm-accessibility-{ACCOUNT}-us-east-1"
SPEED = 2400.0

SPEC = RunSpec.from_table(
    {
        "dataset": {"source": "nobody/nothing"},
        "model": {"base": "amazon.nova-lite-v1:0:300k"},
        "training": {"role_arn": ROLE},
        "serving": {"dead_man_switch": {"after": "12h", "role_arn": SWITCH_ROLE}},
        "aws": {"region": "us-east-1"},
    }
)
PROFILE = load_catalogue(None).find(SPEC.model.base)


def without_tls() -> AbstractContextManager[Any]:
    """Nothing here speaks TLS, and reading the authorities is most of making a client."""
    return mock.patch.object(ssl.SSLContext, "load_verify_locations")


SLOW = {"job_seconds": 1e6}
"""So that a job is stopped in its first part, however slow this machine is."""
RENTED_SPEED = 60.0
"""Of level 4: its dead man's switch has 90 simulated minutes, which no slow machine must use up."""
SCENARIOS: dict[int, dict[str, Any]] = {
    2: SLOW | {"token_memory_seconds": 1e6},
    3: {"job_seconds": None},
    4: {"job_seconds": 30.0, "model_creating_seconds": 5.0, "throughput_seconds": 60.0},
}
"""By level."""


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Desk:
    sandbox: Sandbox
    kill: Callable[[str, str], bool] = lambda operation, when: False
    """Whether the process dies at this operation, `before` it is sent or `after` it was done."""
    heard: Callable[[RawExchange], None] | None = None
    dead: bool = False
    lives: int = 0
    raw: list[RawExchange] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return Settings(
            region="us-east-1",
            endpoint_url=self.sandbox.url,
            poll=PollSettings(first=0.05, longest=0.3, gone_after=0.05),
            # One that is killed while it buys leaves its lease and a doubt behind.
            lease=LeaseSettings(
                time_to_live=5, renew_every=0.5, guard=1, clock_rate_error=0, margin=0, look_every=0.1
            ),
            quiet_minutes=0.05,
        )

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AwsSession]:
        """One for all lives: what a process has of AWS is costly to make, and says nothing of it."""
        self.__dict__["_session"] = _Mortal(self)
        with without_tls():
            async with self.__dict__["_session"] as session:
                yield session

    async def verify(
        self, folder: Path, wanted: Wanted, *, before: Callable[[int], None] = lambda _: None
    ) -> Verified:
        """In a process of its own, as far as anybody can tell."""
        self.dead, self.lives = False, self.lives + 1
        with mock.patch.object(process_identity, "_started", return_value=str(self.lives)):
            async with opened(
                SPEC, PROFILE, self.settings, folder, clock=SystemClock(), connect=self._connect
            ) as verification:
                return await verification.go(wanted, before=before)

    @asynccontextmanager
    async def _connect(
        self, settings: Settings, heard: Callable[[RawExchange], None]
    ) -> AsyncIterator[AwsSession]:
        del settings
        self.heard = heard
        yield self.__dict__["_session"]

    def on_answer(self, raw: RawExchange) -> None:
        if self.dead or self.kill(raw.operation, "after"):
            self.dead = True
            raise Killed
        self.raw.append(raw)
        assert self.heard is not None
        self.heard(raw)

    def on_request(self, *, operation_name: str, **_: Any) -> None:
        if self.dead or self.kill(operation_name, "before"):
            self.dead = True
            raise Killed

    def begin(self, level: int) -> None:
        """Let time pass as the level wants it, so that nothing depends on how fast this machine is."""
        self.sandbox.state.change_scenario(SCENARIOS.get(level, {}))
        self.sandbox.clock.run_at(RENTED_SPEED if level == 4 else SPEED)

    def left(self) -> list[str]:
        """What the account holds of a verification, and what may still bill."""
        from moto.s3.models import s3_backends
        from moto.scheduler.models import scheduler_backends
        from moto.sqs.models import sqs_backends

        region = self.sandbox.state.region("us-east-1")
        found = [*region.throughputs, *region.deployments, *region.models]
        now = self.sandbox.clock.now()
        found += [job.name for job in region.jobs.values() if job.ended_at(now) is None]
        found += list(sqs_backends[ACCOUNT]["us-east-1"].queues)
        for group in scheduler_backends[ACCOUNT]["us-east-1"].schedule_groups.values():
            found += list(group.schedules)
        buckets = s3_backends[ACCOUNT]["aws"].buckets
        return found + (list(buckets[BUCKET].keys) if BUCKET in buckets else [])

    def paid(self) -> list[str]:
        """Every job, throughput and deployment that was ever created, by its kind and name."""
        with self.sandbox.state.lock:
            entries = self.sandbox.state.ledger.as_json(self.sandbox.clock.now())["entries"]
        return [f"{each['kind']} {each['name']}" for each in entries if each["kind"] != "custom_model"]


class _Mortal(AwsSession):
    def __init__(self, desk: Desk) -> None:
        super().__init__(
            region="us-east-1", endpoint_url=desk.sandbox.url, engine="aioboto3", heard=desk.on_answer
        )
        self._desk = desk

    async def _make(self, service: str, use: Any) -> Any:
        client = await super()._make(service, use)
        client.meta.events.register("request-created", self._desk.on_request)
        return client


def running() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(speed=SPEED, model_units=1)) as sandbox:
        yield sandbox
