"""
What the runner can be told to do next: one command, one step, one event back.

`interruptible` commands may be given up anywhere and done again; the others pay, and are carried to
their recorded end even while the process is being stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from datetime import datetime

    from vlm_runner.core.events import Event, JobIntended, ServingIntended
    from vlm_runner.core.run import Run
    from vlm_runner.spec import ServingMode


@dataclass(frozen=True, slots=True)
class Command:
    interruptible: ClassVar[bool] = True
    """Stop may give it up."""
    cancellable: ClassVar[bool] = True
    """Cancel may give it up."""


@dataclass(frozen=True, slots=True)
class Record(Command):
    """Nothing to do but to save this: the intent before an effect."""

    event: Event
    interruptible: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class StageImages(Command):
    run: Run


@dataclass(frozen=True, slots=True)
class WriteRecords(Command):
    run: Run


@dataclass(frozen=True, slots=True)
class SubmitJob(Command):
    intent: JobIntended
    interruptible: ClassVar[bool] = False
    cancellable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class AwaitJob(Command):
    arn: str


@dataclass(frozen=True, slots=True)
class DeadManSwitch:
    """A schedule of AWS's by which the endpoint is deleted, whatever becomes of us."""

    schedule_name: str
    mode: ServingMode
    endpoint_name: str
    role_arn: str
    after: float
    """Seconds from the request for the endpoint."""


@dataclass(frozen=True, slots=True)
class RequestServing(Command):
    intent: ServingIntended
    uid: str
    switch: DeadManSwitch | None = None
    interruptible: ClassVar[bool] = False
    cancellable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class AwaitEndpoint(Command):
    mode: ServingMode
    arn: str
    deleted_at: datetime | None = None
    """When a dead man's switch deletes it."""


@dataclass(frozen=True, slots=True)
class RunTests(Command):
    run: Run
    endpoint_arn: str


@dataclass(frozen=True, slots=True)
class Release(Command):
    """Stop the job if it may run, delete what may bill, and wait until both are seen to be gone."""

    uid: str
    job_name: str | None
    job_token: str | None
    mode: ServingMode | None
    endpoint_name: str | None
    endpoint_arn: str | None
    sweep_for: float = 0.0
    """Seconds for which a create of unknown fate may still arrive: look again, and delete again."""
    unseen_for: float = 0.0
    """Seconds for which what was created may not be visible yet, so that not found is not gone."""
    switch: DeadManSwitch | None = None
    cancellable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class HandOver(Command):
    """Leave the endpoint to the user, with its expiry written on it."""

    mode: ServingMode
    arn: str
    name: str
    delete_command: str
    expires_at: datetime | None
    switch: DeadManSwitch | None = None


@dataclass(frozen=True, slots=True)
class WriteReport(Command):
    run: Run
    cancellable: ClassVar[bool] = False
