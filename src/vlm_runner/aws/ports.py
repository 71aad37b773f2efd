"""
What the runner needs of AWS, as small protocols and plain values.

All methods raise the errors of `vlm_runner.errors` and no others: `AwsRefused` and its kinds where AWS
said no, `AwsUnavailable` where it may yet say yes, `ConfigurationError` for credentials.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from vlm_runner.spec import ServingMode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Encryption:
    """Server-side encryption in S3: "AES256" or "aws:kms", and for that a key's ARN (None: the account's)."""

    algorithm: str
    kms_key: str | None = None


@dataclass(frozen=True, slots=True)
class ListedObject:
    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    body: bytes
    etag: str


class Objects(Protocol):
    """One S3 bucket. Every call says whose bucket it must be."""

    @property
    def bucket(self) -> str: ...

    async def put(self, key: str, body: bytes, *, content_type: str) -> None:
        """Store `body`; S3 verifies a checksum of it."""

    async def put_once(self, key: str, body: bytes, *, content_type: str) -> None:
        """As `put`, by the fastest way and sent once: for callers that pace and retry many uploads."""

    async def put_if(self, key: str, body: bytes, *, replacing: str | None) -> str | None:
        """
        Store if the object's ETag still is `replacing` (None: if there is no object); return the new ETag.

        None means that S3 refused (412, 409) or that there is nothing to replace (404); it does not mean
        that an earlier copy of this very request was not stored.
        """

    async def concatenate(
        self, key: str, parts: Sequence[tuple[str, int]], *, cut: int, content_type: str
    ) -> None:
        """
        Store the concatenation of objects, given by key and size, without its last `cut` bytes.

        At any size in little memory; what S3 can copy is not downloaded.
        """

    async def get(self, key: str, *, most: int | None = None) -> StoredObject | None:
        """With `most`, of an object of more bytes no more than shows that it has more."""

    def read(self, key: str) -> AsyncIterator[bytes]:
        """The object in pieces. Raises NotFound on the first one."""

    def list(self, prefix: str) -> AsyncIterator[ListedObject]:
        """In the order of keys."""

    async def delete(self, key: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Caller:
    account: str
    arn: str
    partition: str


class Account(Protocol):
    """Who calls, and the bucket that is made for them."""

    async def caller(self) -> Caller: ...

    async def ensure_bucket(self, bucket: str, *, account: str, region: str) -> bool:
        """
        Create the bucket unless it is there and ours; True if it was created.

        Raises:
            AwsRefused: it belongs to another account, or is in another region.
        """


@dataclass(frozen=True, slots=True)
class FoundationModel:
    model_id: str
    lifecycle: str
    """As AWS reports it: ACTIVE or LEGACY."""
    customizations: tuple[str, ...]
    inference_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """A model customization job, as AWS describes it."""

    arn: str
    name: str
    status: str
    token: str | None
    model_arn: str | None
    failure: str | None
    details: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of validation, dataProcessing and training, the status, where Bedrock reports it."""
    training_loss: float | None = None
    validation_loss: float | None = None
    modified_at: datetime | None = None
    """When the job, or a part of it, last changed."""


@dataclass(frozen=True, slots=True)
class CustomModel:
    arn: str
    status: str
    failure: str | None = None
    name: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A provisioned throughput or an on-demand deployment."""

    arn: str
    name: str
    status: str
    failure: str | None = None
    model_arn: str | None = None
    created_at: datetime | None = None


class Bedrock(Protocol):
    """The control plane. A `find_…` or `get_…` returns None if Bedrock knows no such resource."""

    async def foundation_model(self, model_id: str) -> FoundationModel | None: ...

    async def find_job(self, name_or_arn: str) -> Job | None: ...

    async def create_job(self, request: Mapping[str, Any]) -> str:
        """The ARN. Raises UncertainCreate where the answer was lost; sent at most once."""

    async def stop_job(self, name_or_arn: str) -> None:
        """A job that has already ended is not an error."""

    async def find_model(self, name_or_arn: str) -> CustomModel | None: ...

    def list_models(self) -> AsyncIterator[CustomModel]:
        """Those of this account and region."""

    async def delete_model(self, name_or_arn: str) -> None:
        """
        One that is already gone is not an error.

        Raises:
            Conflict: something serves it.
        """

    async def find_endpoint(self, mode: ServingMode, name_or_arn: str) -> Endpoint | None: ...

    async def create_endpoint(self, mode: ServingMode, request: Mapping[str, Any]) -> str:
        """The ARN. Raises UncertainCreate where the answer was lost; sent at most once."""

    async def delete_endpoint(self, mode: ServingMode, name_or_arn: str) -> bool:
        """False where Bedrock will not delete it yet; one that is already gone is not an error."""

    def list_endpoints(self, mode: ServingMode, name_contains: str) -> AsyncIterator[Endpoint]:
        """All of this account and region, or those whose name contains this text, if it is not empty."""

    async def tags(self, arn: str) -> Mapping[str, str]: ...

    async def tag(self, arn: str, tags: Mapping[str, str]) -> None:
        """Add or change tags; those that are not named stay."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a one-time schedule does: delete one endpoint, by its name, at `due`."""

    name: str
    due: datetime
    mode: ServingMode
    endpoint_name: str
    role_arn: str
    """That EventBridge Scheduler assumes."""


class Scheduler(Protocol):
    """EventBridge Scheduler, as far as a dead man's switch needs it."""

    async def due(self, name: str) -> datetime | None:
        """When this schedule runs; None if it does not exist (any more)."""

    async def put(self, deletion: Deletion) -> None:
        """Create the schedule, or change it to this; doing it twice changes nothing."""

    async def delete(self, name: str) -> None:
        """One that is already gone is not an error."""


@dataclass(frozen=True, slots=True)
class RuntimeReply:
    """What a model answered."""

    text: str
    input_tokens: int
    output_tokens: int
    stop_reason: str


class ModelRuntime(Protocol):
    """Raises ModelNotReady while the endpoint warms up."""

    async def converse(self, request: Mapping[str, Any]) -> RuntimeReply: ...

    def converse_stream(self, request: Mapping[str, Any]) -> AsyncIterator[str | RuntimeReply]:
        """As `converse`: the text in pieces as it is written, and in the end the whole reply."""

    async def invoke(self, model_id: str, body: bytes, read: Callable[[dict[str, Any]], T]) -> T:
        """What `read` makes of the model's own JSON; AwsUnavailable where it stumbles over it."""


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """A price as AWS's price list has it: per what is for the record to say."""

    usage_type: str
    unit: str
    """Such as "1K tokens", "1M tokens", "hour", "Model/month"."""
    usd: Decimal


class PriceList(Protocol):
    """AWS's price list: free, and the same for every account (discounts are not in it)."""

    async def source(self) -> str:
        """Whose price list it is: its URL."""

    async def find(self, region: str, usage_type: str) -> ListedPrice | None:
        """
        None where nothing is listed for it.

        Raises:
            AwsUnavailable: what is listed is not one price in US dollars.
        """


class Aws(Protocol):
    """All of it, for one account and region; many runs share one."""

    @property
    def region(self) -> str: ...

    @property
    def account(self) -> Account: ...

    @property
    def bedrock(self) -> Bedrock: ...

    @property
    def runtime(self) -> ModelRuntime: ...

    @property
    def scheduler(self) -> Scheduler: ...

    @property
    def prices(self) -> PriceList: ...

    def objects(self, bucket: str, *, owner: str | None, encryption: Encryption | None = None) -> Objects:
        """`encryption` is what every object written asks for; None: the bucket's default."""
        ...


__all__: Sequence[str] = (
    "Account",
    "Aws",
    "Bedrock",
    "Caller",
    "CustomModel",
    "Deletion",
    "Endpoint",
    "FoundationModel",
    "Job",
    "ListedObject",
    "ListedPrice",
    "ModelRuntime",
    "Objects",
    "PriceList",
    "RuntimeReply",
    "Scheduler",
    "StoredObject",
)
