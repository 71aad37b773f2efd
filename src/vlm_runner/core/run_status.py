"""What follows from a run's facts: its outcome, why it failed, whether it may bill."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from vlm_runner.core.phases import Phase

if TYPE_CHECKING:
    from vlm_runner.core.events import (
        CancelRequested,
        CreateRefused,
        CreateUncertain,
        DatasetFacts,
        EndpointFailed,
        HandedOver,
        JobCompleted,
        JobFailed,
        JobIntended,
        Released,
        RunCreated,
        RunFailed,
        ServingIntended,
    )
    from vlm_runner.spec import RunSpec


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunStatus:
    """Derived from the facts of a `Run`, or of a checkpoint that was read as plain JSON."""

    if TYPE_CHECKING:
        phase: Phase
        created: RunCreated
        job_intent: JobIntended | None
        model: JobCompleted | None
        job_failure: JobFailed | None
        serving_intent: ServingIntended | None
        endpoint_failure: EndpointFailed | None
        uncertain_job: CreateUncertain | None
        uncertain_serving: CreateUncertain | None
        refused_job: CreateRefused | None
        refused_serving: CreateRefused | None
        cancelled: CancelRequested | None
        failure: RunFailed | None
        released: Released | None
        handed_over: HandedOver | None

    @property
    def run_id(self) -> str:
        return self.created.run_id

    @property
    def uid(self) -> str:
        return self.created.uid

    @property
    def spec(self) -> RunSpec:
        return self.created.spec

    @property
    def region(self) -> str:
        return self.created.region

    @property
    def account(self) -> str:
        return self.created.account

    @property
    def bucket(self) -> str:
        return self.created.bucket

    @property
    def dataset(self) -> DatasetFacts:
        return self.created.dataset

    @property
    def done(self) -> bool:
        return self.phase is Phase.DONE

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it has not ended."""
        if not self.done:
            return None
        if self.cancelled is not None:
            return Outcome.CANCELLED
        return Outcome.FAILED if self.reason is not None else Outcome.SUCCEEDED

    @property
    def reason(self) -> str | None:
        """Why it failed, in one sentence; None if it did not."""
        if self.job_failure is not None:
            return f"The customization job ended as {self.job_failure.status}: {self.job_failure.reason}"
        if self.endpoint_failure is not None:
            return self.endpoint_failure.reason
        return self.failure.reason if self.failure is not None else None

    @property
    def may_bill(self) -> bool:
        """True from the intent to rent until its refusal or release is recorded; always if handed over."""
        return self.serving_intent is not None and self.refused_serving is None and self.released is None

    @property
    def may_train(self) -> bool:
        """True while a customization job of this run may exist and not have ended."""
        ended = self.model is not None or self.job_failure is not None or self.refused_job is not None
        return self.job_intent is not None and not ended

    @property
    def uncertain(self) -> bool:
        """True where a create of the present phase may have been sent, with an unknown result."""
        if self.phase is Phase.SUBMITTING:
            return self.uncertain_job is not None
        return self.phase is Phase.REQUESTING and self.uncertain_serving is not None
