"""Which throughputs and deployments have outlived what they were rented for: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from vlm_runner.core.names import NAME_PREFIX, NEVER, TAG_EXPIRES, TAG_RUN, TAG_UID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vlm_runner.core.run import Run
    from vlm_runner.spec import ServingMode


@dataclass(frozen=True, slots=True)
class Rented:
    """A throughput or deployment, as AWS describes it."""

    mode: ServingMode
    arn: str
    name: str
    status: str
    created_at: datetime | None
    tags: Mapping[str, str]

    @property
    def is_ours(self) -> bool:
        """By name and by tag: anyone can use such a name."""
        return self.name.startswith(NAME_PREFIX) and TAG_UID in self.tags

    @property
    def run_id(self) -> str:
        return self.tags.get(TAG_RUN, "")


@dataclass(frozen=True, slots=True)
class ExpiryVerdict:
    outlived: bool
    reason: str
    explained: bool = True
    """False where no run that can be read says why it is there: nobody may be looking after it."""


def judge(
    rented: Rented,
    run: Run | None,
    *,
    now: datetime,
    older_than: timedelta | None,
    unread: str = "no run of this store rented it; another store's may have",
) -> ExpiryVerdict:
    """
    Whether to delete it. `run` is what the checkpoints know of the run that its tags name, if anything.

    What a user kept is theirs until it expires. What no readable run explains (`unread` says why not) may
    belong to a run in another store: it counts as outlived only if it is `older_than` what the caller says,
    and until then it is unexplained, and reported as such.
    """
    if (verdict := _by_tag(rented, now)) is not None:
        return verdict
    if run is not None and run.uid == rented.tags.get(TAG_UID):
        return _by_run(rented, run, now)
    age = None if rented.created_at is None else now - rented.created_at
    if older_than is not None and age is not None and age >= older_than:
        return ExpiryVerdict(outlived=True, reason=f"{unread}, and it is {_hours(age)} old", explained=False)
    return ExpiryVerdict(outlived=False, reason=unread, explained=False)


def _by_tag(rented: Rented, now: datetime) -> ExpiryVerdict | None:
    tag = rented.tags.get(TAG_EXPIRES)
    if tag is None:
        return None
    if tag == NEVER:
        return ExpiryVerdict(outlived=False, reason="it was kept without an expiry")
    try:
        expires = datetime.fromisoformat(tag)
        over = now >= expires
    except (ValueError, TypeError):
        return ExpiryVerdict(outlived=False, reason=f"its tag {TAG_EXPIRES} cannot be read", explained=False)
    return ExpiryVerdict(outlived=over, reason=f"it was kept until {tag}{', now past' if over else ''}")


def _by_run(rented: Rented, run: Run, now: datetime) -> ExpiryVerdict:
    if not run.done:
        return ExpiryVerdict(outlived=False, reason=f"its run is in phase {run.phase}")
    kept = run.handed_over
    if kept is None or kept.arn != rented.arn:
        return ExpiryVerdict(outlived=True, reason="its run is done")
    if kept.expires_at is None:
        return ExpiryVerdict(outlived=False, reason="its run kept it without an expiry")
    over = now >= kept.expires_at
    return ExpiryVerdict(outlived=over, reason=f"its run kept it until {kept.expires_at.isoformat()}")


def _hours(age: timedelta) -> str:
    return f"{age.total_seconds() / 3600:.1f} h"
