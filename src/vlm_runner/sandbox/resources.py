"""What one account has in one Region. Status is never stored: it follows from timestamps and the clock."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from vlm_runner.sandbox.catalogue import FoundationModel
from vlm_runner.sandbox.idempotency import TokenMemory
from vlm_runner.sandbox.ledger import Entry
from vlm_runner.sandbox.nearest_neighbor import TrainingMemory

JobStatus = Literal["InProgress", "Completed", "Failed", "Stopping", "Stopped"]


@dataclass(frozen=True)
class AcceptedFile:
    name: str
    data: bytes
    records: int


@dataclass(frozen=True)
class DatasetVerdict:
    """The result of data validation: the message that fails the job, or the data to train on."""

    failure: str | None = None
    tokens: int = 0
    records: int = 0
    memory: TrainingMemory | None = None
    files: tuple[AcceptedFile, ...] = ()
    """Training first, then validation; none are kept once Bedrock's copies of them are written."""


@dataclass
class Job:
    arn: str
    name: str
    request: Mapping[str, Any]
    model: FoundationModel
    base_arn: str
    model_arn: str
    epochs: float
    created_at: datetime
    validated_at: datetime
    entry: Entry
    processed_at: datetime | None = None
    completes_at: datetime | None = None
    fails_at: datetime | None = None
    failure: str | None = None
    stop_at: datetime | None = None
    stopped_at: datetime | None = None
    verdict: DatasetVerdict | None = None
    stalled: bool = False
    published_status: JobStatus | None = None

    def status(self, now: datetime) -> JobStatus:
        ended: JobStatus | None = self._ended(now)
        if ended:
            return ended
        return "Stopping" if self.stop_at and now >= self.stop_at else "InProgress"

    def _ended(self, now: datetime) -> JobStatus | None:
        if self.stopped_at:
            return "Stopped" if now >= self.stopped_at else None
        if self.fails_at:
            return "Failed" if now >= self.fails_at else None
        return "Completed" if self.completes_at and now >= self.completes_at else None

    def ended_at(self, now: datetime) -> datetime | None:
        if self._ended(now) is None:
            return None
        return self.stopped_at or self.fails_at or self.completes_at

    def trained_fraction(self, now: datetime) -> float:
        """The fraction of the training that is done, and billed, by `now`."""
        if self.processed_at is None or self.completes_at is None:
            return 0.0
        until = min(moment for moment in (now, self.stop_at, self.fails_at, self.completes_at) if moment)
        span = (self.completes_at - self.processed_at).total_seconds()
        return min(1.0, max(0.0, (until - self.processed_at).total_seconds() / span)) if span else 1.0


@dataclass
class CustomModel:
    arn: str
    name: str
    job: Job
    created_at: datetime
    active_at: datetime
    entry: Entry

    def status(self, now: datetime) -> str:
        return "Active" if now >= self.active_at else "Creating"


@dataclass
class Throughput:
    arn: str
    name: str
    units: int
    model_arn: str
    base: FoundationModel
    commitment: str | None
    created_at: datetime
    ready_at: datetime
    entry: Entry
    failure: str | None = None
    desired_model_arn: str = ""
    updated_at: datetime | None = None
    calls_left: float = 0.0
    called_at: datetime | None = None

    def takes_call(self, now: datetime, per_unit_second: float) -> bool:
        """Whether its rate has room for one more; a call that is throttled takes none of it."""
        rate = per_unit_second * self.units
        passed = (now - self.called_at).total_seconds() if self.called_at else math.inf
        self.calls_left, self.called_at = min(rate, self.calls_left + passed * rate), now
        if self.calls_left < 1:
            return False
        self.calls_left -= 1
        return True

    def status(self, now: datetime) -> str:
        if now < self.ready_at:
            return "Creating"
        if self.failure:
            return "Failed"
        if self.updated_at and now < self.updated_at:
            return "Updating"
        return "InService"

    def serves(self, now: datetime) -> str:
        """The ARN of the model that answers at `now`: an update takes effect when it completes."""
        updating = self.updated_at is not None and now < self.updated_at
        return self.model_arn if updating else self.desired_model_arn or self.model_arn


@dataclass
class Deployment:
    arn: str
    name: str
    model_arn: str
    base: FoundationModel
    description: str | None
    created_at: datetime
    ready_at: datetime
    entry: Entry
    failure: str | None = None
    gone_at: datetime | None = None

    def status(self, now: datetime) -> str:
        if self.gone_at:
            return "Deleting"
        if now < self.ready_at:
            return "Creating"
        return "Failed" if self.failure else "Active"


@dataclass
class Region:
    name: str
    jobs: dict[str, Job] = field(default_factory=dict)
    models: dict[str, CustomModel] = field(default_factory=dict)
    throughputs: dict[str, Throughput] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: TokenMemory = field(default_factory=TokenMemory)


def later(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)
