"""
Settings of a process: the one reader of the environment.

A spec says what a run shall do; settings say how and where this process works. Variables are
`VLM_RUNNER_…`, nested by `__`; AWS's own are left to botocore, and only AWS_REGION is read here, since
botocore does not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UploadSettings(Group, frozen=True):
    concurrency: int = Field(default=64, ge=1, le=512)
    """At most; fewer where S3 asks to slow down. 256 were measured to be no faster than 64."""
    in_flight_bytes: int = Field(default=128 * 1024 * 1024, ge=1024 * 1024)
    engine: Literal["auto", "aioboto3", "obstore"] = "auto"
    """What sends images. obstore takes a fifth of the CPU; `auto` uses it wherever it can do the job."""
    verify: bool = False
    """Look at the images of what an earlier run marked as done, instead of believing the marks."""


class PollSettings(Group, frozen=True):
    """Seconds; see `vlm_runner.core.pace.PollPace`."""

    first: float = Field(default=5.0, gt=0)
    longest: float = Field(default=60.0, gt=0)
    cancel_every: float = Field(default=5.0, gt=0)
    """How often the mark that `cancel` leaves is looked for."""


class LeaseSettings(Group, frozen=True):
    """Seconds; see `vlm_runner.checkpoint.timing.LeaseTiming`."""

    time_to_live: float = Field(default=90.0, ge=5)
    renew_every: float = Field(default=20.0, ge=0.5)
    guard: float = Field(default=30.0, ge=1)
    look_every: float = Field(default=2.0, ge=0.1)
    """How often a process that waits for another one's run looks whether it may take over."""


class ProcessingSettings(Group, frozen=True):
    """Where SageMaker tells a Processing container of its place, and is told why it failed."""

    resource_config: Path = Path("/opt/ml/config/resourceconfig.json")
    message: Path = Path("/opt/ml/output/message")


class EventSettings(Group, frozen=True):
    """Who hears of all runs of this process, beside those whom a spec names; see `EventsSpec` there."""

    file: str | None = None
    webhook: str | None = None
    webhook_secret: SecretStr | None = None
    """Signs what goes to webhooks, those of specs too: `whsec_` and base64, or any text."""
    event_bus: str | None = None
    sns_topic_arn: str | None = None
    otel: bool = False
    """OpenTelemetry spans and metrics, where OTEL_ variables say (needs the extra `otel`)."""


class Settings(BaseSettings):
    """
    How and where this process works.

    `Settings()` reads the environment; a library that shall read none passes `Settings.model_construct`
    or gives every field.
    """

    model_config = SettingsConfigDict(
        env_prefix="VLM_RUNNER_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    checkpoint_uri: str | None = None
    """A folder or `s3://bucket/prefix`; None: the user's state folder."""
    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    """For all of AWS; None: what botocore finds in AWS_ENDPOINT_URL and the profile."""
    hf_token: SecretStr | None = None
    hf_endpoint: str | None = None
    queue_url: str | None = Field(default=None, pattern="^https?://")
    """An SQS queue to which EventBridge sends `Model Customization Job State Change`; see deploy/."""
    heartbeat_file: Path | None = None
    """Touched while this process lives and its event loop turns; `vlm-runner health` looks at its age."""
    catalogue: Path | None = None
    """A model catalogue of your own (TOML): it adds models, and replaces single values, such as prices."""
    log: Literal["auto", "json", "text"] = "auto"
    quiet_minutes: float = Field(default=15.0, ge=0)
    """For how long a create of unknown fate is swept for; see `vlm_runner.core.decide.QUIET`."""
    upload: UploadSettings = UploadSettings()
    poll: PollSettings = PollSettings()
    lease: LeaseSettings = LeaseSettings()
    processing: ProcessingSettings = ProcessingSettings()
    events: EventSettings = EventSettings()


def set_by_environment() -> frozenset[str]:
    """The names of the settings that VLM_RUNNER_ variables give."""
    return frozenset(Settings().model_fields_set)


def region_from_environment() -> str | None:
    """AWS_REGION, then AWS_DEFAULT_REGION. botocore 1.40 reads the second only."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def message_file_from_environment() -> Path:
    """As `ProcessingSettings.message`, also where the settings as a whole do not fit."""
    given = os.environ.get("VLM_RUNNER_PROCESSING__MESSAGE")
    return Path(given) if given else ProcessingSettings().message


def hub_token_from_environment() -> SecretStr | None:
    token = os.environ.get("HF_TOKEN")
    return SecretStr(token) if token else None
