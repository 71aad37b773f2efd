"""
Everything that is retried, and for how long: one table, and one formula for the pauses. Pure.

`vlm_runner.retry.attempts` runs a loop by a policy; docs/reliability.md shows the table, generated from here.
botocore itself retries each request up to five times before any of these counts a failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What is retried, for how long, how far apart, and what follows when it is not retried any more."""

    what: str
    errors: str
    """Which errors are retried; every other error ends it at once."""
    then: str
    """What follows once it has failed for too long."""
    module: str
    """Which module of `vlm_runner` retries by it."""
    patience: float = inf
    """Seconds after the first failure during which another attempt is begun."""
    attempts: float = inf
    """Attempts in total, the first included."""
    base: float = 0.5
    """Seconds; the longest pause after the first failure is twice that, and doubles with each further one."""
    longest: float = 20.0
    """Seconds; no pause is longer. 0: there is none."""
    until: str = ""
    """What ends it where that is neither time nor a number of attempts."""

    def again(self, failures: int, failing_for: float) -> bool:
        """Whether to try again after so many failures, the first of them `failing_for` seconds ago."""
        return failures < self.attempts and failing_for < self.patience

    def pause(self, failures: int, chance: float) -> float:
        """
        Seconds before the next attempt.

        Evenly spread from 0 on (full jitter), so that many processes that failed together do not return
        together.
        """
        return float(chance * min(self.longest, self.base * 2.0 ** min(failures, 32)))


@dataclass(frozen=True, slots=True)
class Failures:
    """How often something failed in a row, and since when."""

    count: int = 0
    since: float = 0.0
    """Of the first, in seconds of the clock that counted them."""

    def another(self, now: float) -> Failures:
        return Failures(self.count + 1, self.since if self.count else now)

    def lasting(self, now: float) -> float:
        return now - self.since if self.count else 0.0


STEP: Final = RetryPolicy(
    "a step of a run",
    "AWS, the store or the Hub unavailable; no more memory, processes or disk; credentials refused after "
    "they worked in this process, or while an endpoint is rented",
    "where something bills or may, the run fails and is released; else it halts, and `resume` continues it",
    "core.failure",
    patience=900.0,
    longest=30.0,
)
# To fail at once would throw away a trained and rented model.
DENIED_WHILE_RENTING: Final = RetryPolicy(
    "a step of a run while an endpoint is rented",
    "access denied: a right, or access to a model, that was just granted is not seen everywhere at once",
    "the run fails and is released",
    "core.failure",
    patience=120.0,
    longest=30.0,
)
# IAM is eventually consistent: "changes that you make might not be immediately visible" (IAM user guide,
# troubleshoot_general). Terraform waits as long for the same two texts.
ROLE_NOT_SEEN: Final = RetryPolicy(
    "a create that names a role",
    "the service cannot assume the role: one that was just made or changed is not seen everywhere at once",
    "the refusal is recorded, and the run halts",
    "core.failure",
    patience=120.0,
    base=2.5,
    longest=20.0,
)
# Without a pause: jobs that ended so had been under way for minutes or hours.
JOB: Final = RetryPolicy(
    "a customization job that ended before it trained, by a job of another name",
    "an internal error of Bedrock",
    "the run fails and is released",
    "core.failure",
    attempts=2,
    longest=0.0,
)
IN_DOUBT: Final = RetryPolicy(
    "a create that an earlier attempt may have done",
    "any refusal: a quota that is used up may be used by that very create",
    "the refusal is recorded, and the run halts",
    "core.failure",
    longest=30.0,
    until="until no create can arrive any more (`quiet_minutes`, 15)",
)
UNDO: Final = RetryPolicy(
    "stopping or deleting what a process bought that had lost its run",
    "AWS unavailable or refusing; credentials refused",
    "retried until it is gone, or this process is stopped: then exit code 104",
    "steps.undo",
    base=15.0,
    longest=30.0,
)
UNAVAILABLE_WHILE_WAITING: Final = RetryPolicy(
    "waiting for a job, a model or an endpoint, and releasing",
    "AWS unavailable (a 503, a time-out, an answer that is not AWS's): the remote work may go on",
    "looked again at the pace of `poll`, for as long as it takes",
    "steps.polling",
    longest=60.0,
)
REFUSED_WHILE_WAITING: Final = RetryPolicy(
    "the same",
    "credentials refused, or the look itself: somebody may be renewing or granting them",
    "as for a step",
    "steps.polling",
    patience=900.0,
)
# Whatever the error is, ending the process would leave the endpoint billing.
RELEASE: Final = RetryPolicy(
    "releasing and handing over, as a step",
    "every error, foreseen or not",
    "as long as this process lives; stopped, it exits with 75 and says what may still bill",
    "core.failure",
    base=1.0,
    longest=60.0,
    until="until nothing bills, or this process is stopped",
)
RELEASE_UNSAVED: Final = RetryPolicy(
    "releasing what a run rents whose state can no longer be saved",
    "every error, foreseen or not",
    "it ends too as soon as another process drives the run",
    "steps.undo",
    base=15.0,
    longest=60.0,
    until="until nothing bills, or this process is stopped",
)
SAVE: Final = RetryPolicy(
    "saving a checkpoint",
    "the store unavailable, unreadable or refusing; credentials refused",
    "the process releases what the run rents and stops driving it; `resume` continues it",
    "checkpoint.lease",
    patience=900.0,
)
LOAD: Final = RetryPolicy(
    "reading a checkpoint",
    "the store unavailable",
    "the command ends with exit code 75",
    "checkpoint.lease",
    attempts=5,
)
CANCEL_MARK: Final = RetryPolicy(
    "leaving a cancel mark",
    "S3 refusing a write that another one overlapped",
    "the command ends with exit code 75: nothing was marked",
    "checkpoint.s3",
    attempts=5,
)
UPLOAD: Final = RetryPolicy(
    "uploading one object of a staging",
    "S3 unavailable or asking to slow down; fewer uploads run at once until it has recovered",
    "as for a step",
    "ingest.pipeline",
    attempts=10,
    base=0.1,
)
# The SDK's own retries of ModelNotReadyException end within ten seconds.
TUNED_CALL: Final = RetryPolicy(
    "a test call to the tuned model",
    "the endpoint warming up, throttling or unavailable",
    "the run fails and is released",
    "steps.test_calls",
    patience=600.0,
    base=2.5,
    longest=30.0,
)
# Shorter than for the tuned model: a rented endpoint waits meanwhile, and costs.
BASE_CALL: Final = RetryPolicy(
    "a test call to the base model",
    "throttling or unavailable",
    "the report says that the base model could not be asked",
    "steps.test_calls",
    patience=120.0,
    base=2.5,
    longest=30.0,
)
DISARM: Final = RetryPolicy(
    "deleting the schedule of a dead man's switch after the release",
    "EventBridge Scheduler unavailable or refusing",
    "it is reported; the schedule finds nothing to delete, and deletes itself",
    "steps.dead_man_switch",
    attempts=5,
)
QUEUE: Final = RetryPolicy(
    "listening to the queue of job events",
    "any error of SQS",
    "retried for ever; meanwhile the timer alone asks for job states",
    "steps.job_wakeups",
    base=1.0,
    longest=300.0,
)
WEBHOOK: Final = RetryPolicy(
    "delivering one event to a webhook",
    "connection errors, and HTTP 408, 425, 429, 500, 502, 503 and 504",
    "the event is logged as lost; the run is not affected",
    "watch.webhook",
    attempts=6,
    base=1.0,
)
FETCH: Final = RetryPolicy(
    "fetching an image from its address (`dataset.fetch_images`)",
    "HTTP 408, 425, 429 and 5xx; no or a broken connection; up to 30 seconds of a Retry-After are waited",
    "the row cannot be used",
    "dataset.addresses",
    attempts=4,
    longest=10.0,
)
SOURCE: Final = RetryPolicy(
    "reading an object of a dataset in S3",
    "AWS unavailable, or an answer that breaks off",
    "AWS is unavailable: as for a step",
    "aws.reading",
    attempts=4,
    longest=10.0,
)
SWEEP_QUOTA: Final = RetryPolicy(
    "a run of a sweep",
    "a service quota that is full",
    "that run of the sweep fails",
    "sweep.drive",
    base=1.0,
    longest=120.0,
    until="the sweep's `patience`",
)

POLICIES: Final = (
    STEP,
    DENIED_WHILE_RENTING,
    ROLE_NOT_SEEN,
    JOB,
    IN_DOUBT,
    UNAVAILABLE_WHILE_WAITING,
    REFUSED_WHILE_WAITING,
    RELEASE,
    RELEASE_UNSAVED,
    SAVE,
    LOAD,
    CANCEL_MARK,
    UPLOAD,
    TUNED_CALL,
    BASE_CALL,
    UNDO,
    DISARM,
    QUEUE,
    WEBHOOK,
    FETCH,
    SOURCE,
    SWEEP_QUOTA,
)


def table() -> list[str]:
    """The policies as a Markdown table."""
    return [
        "| what is retried | on which errors | for how long | longest pause | and then | module |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one.what} | {one.errors} | {_bound(one)} | {_longest(one)} | {one.then} | `{one.module}` |"
            for one in POLICIES
        ),
    ]


def _longest(policy: RetryPolicy) -> str:
    return f"{policy.longest:g} s" if policy.longest else "none"


def _bound(policy: RetryPolicy) -> str:
    if policy.attempts != inf:
        return f"{policy.attempts:g} attempts"
    if policy.patience == inf:
        return policy.until or "no limit"
    return f"{policy.patience / 60:g} minutes"
