"""What a test can change while the sandbox runs: `POST /_sandbox/scenario`."""

from pydantic import BaseModel, ConfigDict

from vlm_runner.sandbox.ledger import Started


class Scenario(BaseModel):
    """
    Durations are simulated seconds.

    The quotas are those of a small account: Amazon Bedrock endpoints and quotas lists 10 scheduled jobs;
    2 running jobs and 2 deployments in progress are values seen in accounts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fail_next_job: str | None = None
    """It fails in the midst of its training, with this message."""
    internal_error_next_job: bool = False
    """It fails before it trains, as seen in two accounts; it costs nothing."""
    stall_next_job: bool = False
    """Once it is validated, nothing of it changes any more, as seen in two accounts, until it is stopped."""
    fail_next_throughput: str | None = None
    fail_next_deployment: str | None = None

    job_seconds: float | None = None
    """The whole job; None derives it from tokens and epochs."""
    stopping_seconds: float = 60
    deleting_seconds: float = 0
    """How long a deployment is shown as Deleting after it was deleted."""
    model_creating_seconds: float = 120
    throughput_seconds: float = 20 * 60
    """AWS samples report 15 to 30 minutes."""
    throughput_updating_seconds: float = 5 * 60
    deployment_seconds: float = 10 * 60

    call_seconds: float = 0
    """How long a model takes to answer a call; AWS publishes no figure."""
    calls_per_unit_second: float | None = None
    """Calls a second of a model unit, after a burst of a second; more are throttled. None: no limit."""

    rent_started: Started = None
    """What of a throughput's time is billed whole once begun: AWS does not say. None: its exact time."""

    token_memory_seconds: float = 3600
    """How long a client request token is remembered: AWS publishes no number to rely on."""

    running_jobs: int = 2
    scheduled_jobs: int = 10
    no_commitment_units: int = 0
    """Of every model, and of all together; the default is AWS's."""
    deployments_in_progress: int = 2
    deployments: int = 10
    """Quota L-1EF80F3E."""

    expired_access_keys: tuple[str, ...] = ()
    """Expired temporary credentials: requests signed with one are refused, as by AWS."""

    require_roles: bool = True
    """Whether the role of a job or a schedule must exist in IAM, and trust the service that assumes it."""

    fine_tuning_on_plain_id: bool = False
    """Whether a model's plain id lists FINE_TUNING, instead of the one with its context size."""

    drop_events: int = 0
    duplicate_events: int = 0
    delay_events_seconds: float = 0
    """EventBridge delivers Bedrock's events on a best-effort basis: lose, repeat or delay the next ones."""
