"""The run: a frozen record, folded from its history."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from vlm_runner.core.events import (
    CancelRequested,
    CreateRefused,
    CreateUncertain,
    EndpointFailed,
    EndpointReady,
    Entry,
    HandedOver,
    ImagesStaged,
    JobCompleted,
    JobFailed,
    JobIntended,
    JobSubmitted,
    RecordsWritten,
    Released,
    ReportWritten,
    RunCreated,
    RunFailed,
    ServingIntended,
    ServingRequested,
    TestsAnswered,
    Value,
)
from vlm_runner.core.standing import Outcome, Phase, Standing

__all__ = ["Outcome", "Phase", "Run"]


class Run(Value, Standing, frozen=True):
    """Where a run stands. Each field below `created` holds the fact of its name, once it has happened."""

    phase: Phase
    created_at: datetime
    updated_at: datetime
    sequence: int

    created: RunCreated
    images: ImagesStaged | None = None
    records: RecordsWritten | None = None
    job_intent: JobIntended | None = None
    job: JobSubmitted | None = None
    model: JobCompleted | None = None
    job_failure: JobFailed | None = None
    serving_intent: ServingIntended | None = None
    serving: ServingRequested | None = None
    rented_from: datetime | None = None
    """Of a run with a budget, when it said that it would rent: no bill for rent begins before that."""
    endpoint: EndpointReady | None = None
    endpoint_failure: EndpointFailed | None = None
    uncertain_job: CreateUncertain | None = None
    uncertain_serving: CreateUncertain | None = None
    refused_job: CreateRefused | None = None
    refused_serving: CreateRefused | None = None
    tests: TestsAnswered | None = None
    cancelled: CancelRequested | None = None
    failure: RunFailed | None = None
    released: Released | None = None
    handed_over: HandedOver | None = None
    report: ReportWritten | None = None

    @classmethod
    def begin(cls, entry: Entry) -> Self:
        if not isinstance(entry.event, RunCreated):
            raise TypeError(f"a history begins with run_created, not {entry.event.kind}")
        return cls(
            phase=Phase.STAGING,
            created_at=entry.at,
            updated_at=entry.at,
            sequence=entry.sequence,
            created=entry.event,
        )
