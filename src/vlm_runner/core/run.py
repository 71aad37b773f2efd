"""The run: a frozen record, folded from its history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

from pydantic import AwareDatetime

from vlm_runner.core.events import DatasetFacts, Entry, Facts, JobCompleted, RunCreated
from vlm_runner.core.outcome import Outcome, billing_possible, job_failure_reason, outcome_of
from vlm_runner.core.phases import Phase, Route, route_of
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from vlm_runner.spec import RunSpec

__all__ = ["Outcome", "Phase", "Run", "known"]

T = TypeVar("T")


class Run(Facts, frozen=True):
    """A run after the last event of its history."""

    phase: Phase
    created_at: AwareDatetime
    updated_at: AwareDatetime
    sequence: int

    created: RunCreated

    @classmethod
    def begin(cls, entry: Entry) -> Self:
        if not isinstance(entry.event, RunCreated):
            raise TypeError(f"a history begins with run_created, not {entry.event.kind}")
        served = entry.event.serves
        return cls(
            phase=route(entry.event).first,
            created_at=entry.at,
            updated_at=entry.at,
            sequence=entry.sequence,
            created=entry.event,
            # What an earlier run left, this one goes on from.
            model=JobCompleted(model_arn=served.model_arn) if served is not None else None,
            places=served.places if served is not None else None,
            records=served.records if served is not None else None,
        )

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
    def route(self) -> Route:
        return route(self.created)

    @property
    def done(self) -> bool:
        return self.phase is Phase.DONE

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it has not ended."""
        return outcome_of(self.phase, cancelled=self.cancelled is not None, failed=self.reason is not None)

    @property
    def reason(self) -> str | None:
        """Why it failed, in one sentence; None if it did not."""
        if self.job_failure is not None:
            return job_failure_reason(self.job_failure.status, self.job_failure.reason)
        if self.endpoint_failure is not None:
            return self.endpoint_failure.reason
        return self.failure.reason if self.failure is not None else None

    @property
    def own_model(self) -> JobCompleted | None:
        """The custom model that this run trained; None also where it serves an earlier run's."""
        return self.model if self.created.serves is None else None

    @property
    def may_bill(self) -> bool:
        """Whether something that this run rented may still cost money; see `billing_possible`."""
        return billing_possible(
            intended=self.serving_intent is not None,
            refused=self.refused_serving is not None,
            released=self.released is not None,
        )

    @property
    def may_train(self) -> bool:
        """True while a customization job of this run may exist and not have ended."""
        # A job that was only not found any more may go on all the same: the release looks for it again.
        failed = self.job_failure is not None and self.job_failure.status != "Gone"
        ended = self.model is not None or failed or self.refused_job is not None
        return self.job_intent is not None and not ended

    @property
    def uncertain(self) -> bool:
        """True where a create of the present phase may have been sent, with an unknown result."""
        if self.phase is Phase.SUBMITTING:
            return self.uncertain_job is not None
        return self.phase is Phase.REQUESTING and self.uncertain_serving is not None


def route(created: RunCreated) -> Route:
    served = created.serves
    return route_of(
        serves=created.spec.serving.mode is not ServingMode.NONE,
        trains=served is None,
        stages=served is None or served.records is None,
    )


def known(value: T | None) -> T:
    """A fact that is there in the run's phase."""
    if value is None:
        raise ValueError("the checkpoint's phase and facts contradict each other")
    return value
