"""
Settings of a process.

A spec says what a run does; settings say how and where this process works. Variables are
`VLM_RUNNER_…`, nested by `__`; AWS's own are left to botocore.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from vlm_runner.checkpoint.timing import LeaseSettings
from vlm_runner.core.pace import PollPace
from vlm_runner.environment import SAGEMAKER_MESSAGE
from vlm_runner.spec import kms_key_arn


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UploadSettings(Group, frozen=True):
    """Limits of one staging."""

    concurrency: int = Field(default=64, ge=1, le=512)
    """At most; fewer where S3 asks to slow down. 256 were measured to be no faster than 64."""
    in_flight_bytes: int = Field(default=128 * 1024 * 1024, ge=1024 * 1024)
    """Bytes of images that are in memory at once, at most."""
    engine: Literal["auto", "aioboto3", "obstore"] = "auto"
    """What sends images. obstore takes a fifth of the CPU; `auto` uses it wherever it can do the job."""
    verify: bool = False
    """Check the images that earlier runs marked as uploaded, instead of trusting the markers."""


class PollSettings(PollPace):
    """Seconds between two looks, at a remote state and at the cancel mark."""

    cancel_every: float = Field(default=5.0, gt=0)
    """How often the mark that `cancel` leaves is checked."""


class ProcessingSettings(Group, frozen=True):
    """Files through which SageMaker passes a Processing container its rank, and reads why it failed."""

    resource_config: Path = Path("/opt/ml/config/resourceconfig.json")
    """Where SageMaker tells a container its rank."""
    message: Path = SAGEMAKER_MESSAGE
    """Where a container tells SageMaker why it failed."""


class EventSettings(Group, frozen=True):
    """Event sinks for all runs of this process, in addition to those of a spec; see `EventsSpec`."""

    file: str | None = None
    """JSON lines are appended to it; `-` is stdout."""
    webhook: str | None = None
    """An address that each event is posted to."""
    webhook_secret: SecretStr | None = None
    """Signs what goes to webhooks, those of specs too: `whsec_` and base64, or any text."""
    event_bus: str | None = None
    """Name or ARN of an EventBridge bus."""
    sns_topic_arn: str | None = None
    """A topic that each event is published to."""
    otel: bool = False
    """OpenTelemetry spans and metrics, where OTEL_ variables say (needs the extra `otel`)."""


class TrackingSettings(Group, frozen=True):
    """
    Experiment trackers that are told of all runs of this process; see `vlm_runner.track`.

    Their credentials are their clients' own variables, such as MLFLOW_TRACKING_TOKEN and WANDB_API_KEY.
    """

    mlflow: str | None = None
    """A tracking server, as in MLFLOW_TRACKING_URI (needs the extra `mlflow`)."""
    mlflow_experiment: str = Field(default="vlm-runner", min_length=1)
    """The experiment there that gets the runs."""
    wandb: str | None = Field(default=None, pattern="^[^/]+(/[^/]+)?$")
    """PROJECT or ENTITY/PROJECT of Weights & Biases (needs the extra `wandb`)."""
    tensorboard: Path | None = None
    """A folder for TensorBoard's files, one subfolder a run (needs the extra `tensorboard`)."""


class Settings(Group, frozen=True):
    """
    How and where this process works: a validated value.

    `Settings(...)` reads nothing; `Settings.from_environment()` reads the VLM_RUNNER_ variables.
    """

    checkpoint_uri: str | None = None
    """A folder or `s3://bucket/prefix`; None: the user's state folder."""
    checkpoint_encryption: Literal["AES256", "aws:kms"] | None = None
    """What every save in an S3 store asks for, as some bucket policies demand; None: the bucket's default."""
    checkpoint_kms_key: Annotated[str, AfterValidator(kms_key_arn)] | None = None
    """ARN of the KMS key of "aws:kms", which it implies; None: the account's key for S3."""
    profile: str | None = None
    """Of the AWS configuration."""
    region: str | None = None
    """Of AWS; a spec's own comes after it."""
    endpoint_url: str | None = None
    """For all of AWS; None: what botocore finds in AWS_ENDPOINT_URL and the profile."""
    hf_token: SecretStr | None = None
    """For private datasets of the Hugging Face Hub; HF_TOKEN is read too."""
    hf_endpoint: str | None = None
    """Address of the Hub, if it is a mirror."""
    queue_url: str | None = Field(default=None, pattern="^https?://")
    """An SQS queue to which EventBridge sends `Model Customization Job State Change`; see deploy/."""
    heartbeat_file: Path | None = None
    """Touched while this process lives and its event loop turns; `vlm-runner health` looks at its age."""
    catalogue: Path | None = None
    """Your model catalogue (TOML): it adds models, and overrides single values, such as prices."""
    metric_modules: tuple[str, ...] = ()
    """Modules whose functions a spec may name as metrics, besides installed entry points: their code runs."""
    log: Literal["auto", "json", "text"] = "auto"
    """`auto` is text on a terminal, and JSON lines elsewhere."""
    quiet_minutes: float = Field(default=15.0, ge=0)
    """For how long a create whose result is unknown is searched for; see `vlm_runner.core.pace.QUIET`."""
    upload: UploadSettings = UploadSettings()
    poll: PollSettings = PollSettings()
    lease: LeaseSettings = LeaseSettings()
    processing: ProcessingSettings = ProcessingSettings()
    events: EventSettings = EventSettings()
    tracking: TrackingSettings = TrackingSettings()

    @classmethod
    def from_environment(cls) -> Self:
        """
        What the VLM_RUNNER_ variables say; `model_fields_set` names those that are set.

        Raises:
            pydantic.ValidationError: a variable is unknown, or its value is not valid.
        """
        read = _Environment()
        return cls(**{name: getattr(read, name) for name in read.model_fields_set})


class _Environment(BaseSettings, Settings):
    model_config = SettingsConfigDict(
        env_prefix="VLM_RUNNER_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )
