"""
From AWS's errors to ours: one table.

Codes are those that the API references of Bedrock, Bedrock Runtime, S3 and STS list, and those of IAM's
"Common errors".
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.errors import (
    AccessDenied,
    AwsRefused,
    AwsUnavailable,
    ConfigurationError,
    Conflict,
    CredentialsError,
    ModelNotReady,
    NotFound,
    QuotaExceeded,
    RoleNotAssumable,
    Throttled,
    UncertainCreate,
    VlmRunnerError,
)
from vlm_runner.redact import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

KINDS: Final[Mapping[str, type[VlmRunnerError]]] = {
    # transient
    "InternalError": AwsUnavailable,
    "InternalFailure": AwsUnavailable,
    "InternalServerException": AwsUnavailable,
    "RequestTimeout": AwsUnavailable,
    "RequestTimeoutException": AwsUnavailable,
    "ServiceUnavailable": AwsUnavailable,
    "ServiceUnavailableException": AwsUnavailable,
    "ModelTimeoutException": AwsUnavailable,
    "ModelErrorException": AwsUnavailable,
    "OperationAborted": AwsUnavailable,
    "BadDigest": AwsUnavailable,  # what arrived is not what was sent
    "XAmzContentSHA256Mismatch": AwsUnavailable,
    # throttled
    "RequestLimitExceeded": Throttled,
    "SlowDown": Throttled,
    "Throttling": Throttled,
    "ThrottlingException": Throttled,
    "TooManyRequestsException": Throttled,
    "ModelNotReadyException": ModelNotReady,
    # quota
    "LimitExceededException": QuotaExceeded,
    "ResourceLimitExceeded": QuotaExceeded,
    "ServiceQuotaExceededException": QuotaExceeded,
    "TooManyBuckets": QuotaExceeded,
    # credentials
    "AuthFailure": CredentialsError,
    "ExpiredToken": CredentialsError,
    "ExpiredTokenException": CredentialsError,
    "IncompleteSignature": CredentialsError,
    "InvalidAccessKeyId": CredentialsError,
    "InvalidClientTokenId": CredentialsError,
    "InvalidSignatureException": CredentialsError,
    "InvalidToken": CredentialsError,
    "RequestExpired": CredentialsError,
    "RequestTimeTooSkewed": CredentialsError,
    "SignatureDoesNotMatch": CredentialsError,
    "UnrecognizedClientException": CredentialsError,
    # denied
    "AccessDenied": AccessDenied,
    "AccessDeniedException": AccessDenied,
    "AllAccessDisabled": AccessDenied,
    "NotAuthorized": AccessDenied,
    "OptInRequired": AccessDenied,
    "UnauthorizedOperation": AccessDenied,
    # not found
    "404": NotFound,
    "AWS.SimpleQueueService.NonExistentQueue": NotFound,
    "NoSuchBucket": NotFound,
    "NoSuchKey": NotFound,
    "NoSuchUpload": NotFound,
    "ResourceNotFound": NotFound,  # as SageMaker says it
    "ResourceNotFoundException": NotFound,
    # conflict
    "BucketAlreadyExists": Conflict,
    "BucketAlreadyOwnedByYou": Conflict,
    "ConditionalRequestConflict": Conflict,
    "ConflictException": Conflict,
    "PreconditionFailed": Conflict,
    "ResourceInUseException": Conflict,
}

LONGEST_MESSAGE: Final = 2000
"""Characters of AWS's or the network's own words in an error, which enters a run's events and the log."""

CREDENTIALS_HINT = "Check them with: aws sts get-caller-identity (or set AWS_PROFILE, or run: aws sso login)."

TLS_HINT = (
    "If a proxy opens TLS connections here, name a file with its certificates in AWS_CA_BUNDLE, or as "
    "ca_bundle in the profile."
)

ROLE_MARKS: Final = (
    "Could not assume provided IAM role",
    "must allow AWS EventBridge Scheduler to assume the role",
)
"""
Bedrock's and EventBridge Scheduler's words (a ValidationException) for a role that does not exist, does not
trust them, or was made or changed so recently that IAM has not spread it.
"""

ROLE_HINT = (
    "Check that the role exists, and that its trust policy names the service: vlm-runner doctor SPEC "
    "checks it, and vlm-runner iam SPEC prints the policies."
)

REQUEST_IDS: Final = ("x-amzn-requestid", "x-amz-request-id", "x-amz-id-2")

LEGACY_MARK = "marked by provider as Legacy"
"""Bedrock refuses an old model as ResourceNotFoundException with this text; the thing is not missing."""


def kind_of(code: str, status: int, message: str = "") -> type[VlmRunnerError]:
    """The kind of an error that AWS answered with; an unknown code goes by its HTTP status."""
    if LEGACY_MARK in message:
        return AwsRefused
    if any(mark in message for mark in ROLE_MARKS):
        return RoleNotAssumable
    known = KINDS.get(code)
    if known is not None:
        return known
    if status == 429:
        return Throttled
    if status >= 500:
        return AwsUnavailable
    by_status: dict[int, type[VlmRunnerError]] = {403: AccessDenied, 404: NotFound, 409: Conflict}
    return by_status.get(status, AwsRefused)


@contextlib.contextmanager
def translated(operation: str, *, create: bool = False) -> Iterator[None]:
    """
    Translate what botocore and aiohttp raise inside into the errors of `vlm_runner.errors`.

    With `create`, a lost or broken answer becomes UncertainCreate: the thing may exist. Throttling does
    not: AWS throttles before it acts.
    """
    try:
        yield
    except VlmRunnerError:
        raise
    except Exception as error:
        raise translate(error, operation, create=create) from error


def translate(error: Exception, operation: str, *, create: bool) -> Exception:
    """The translation of `error`; `error` itself if it is neither AWS's nor the network's."""
    from botocore import exceptions  # noqa: PLC0415 - half a second that --help need not pay

    if isinstance(error, exceptions.ClientError):
        return answered(error.response, operation, create=create)
    for classes, make in _unanswered(exceptions):
        if isinstance(error, classes):
            return make(error, operation, create)
    return error


@contextlib.contextmanager
def credentials_translated(operation: str) -> Iterator[None]:
    """
    As `translated`, around what reads the AWS configuration, asks a credentials helper, or opens a client.

    AWS did not answer: the fault is on this machine.
    """
    try:
        with translated(operation):
            yield
    except (CredentialsError, ConfigurationError):
        raise
    except VlmRunnerError as error:
        # A token service that does not answer, a helper that prints no JSON.
        raise CredentialsError(
            f"{operation}: no usable AWS credentials ({error.message.removesuffix('.')}).",
            hint=CREDENTIALS_HINT,
        ) from error
    except (OSError, EOFError) as error:
        from vlm_runner.core.failure import foreseen  # noqa: PLC0415 - not for what only names errors

        if (known := foreseen(error)) is not error:  # a machine without more files says nothing of the keys
            raise known from error
        raise CredentialsError(
            f"{operation}: what the AWS configuration names cannot be used ({_words(error)}).",
            hint="Check credential_process, ca_bundle and the files that they name; paths must be absolute.",
        ) from error


def answered(response: Mapping[str, Any], operation: str, *, create: bool) -> VlmRunnerError:
    """The translation of AWS's answer, in the form that botocore gives it."""
    error = response.get("Error", {})
    code = one_line(str(error.get("Code", "")), 100)
    message = one_line(str(error.get("Message", "")), LONGEST_MESSAGE)
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"{operation}: {code or status}: {message or 'no message'}".rstrip(".") + "."
    if _is_a_strangers(response, code, status):
        silence = UncertainCreate if create else AwsUnavailable
        return silence(text, hint="A proxy or a captive portal may answer in AWS's place.")
    kind = kind_of(code, status, message)
    if issubclass(kind, CredentialsError):
        return kind(text, hint=CREDENTIALS_HINT)
    if kind is RoleNotAssumable:
        return kind(text, hint=ROLE_HINT, code=code, operation=operation)
    if issubclass(kind, AwsRefused):
        return kind(text, code=code, operation=operation)
    if create and kind is AwsUnavailable:
        return UncertainCreate(text)
    return kind(text)


def _is_a_strangers(response: Mapping[str, Any], code: str, status: int) -> bool:
    """
    Whether this refusal is not AWS's: it has no code of an error (for which botocore then takes the status),
    and no id of a request, which all that AWS answers has. A portal's redirect and its page for what it does
    not know look so; believed, its 404 would abandon a job that trains.
    """
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders")
    return (
        headers is not None
        and code in {"", str(status)}
        and 300 <= status < 500
        and not has_request_id(headers)
    )


def has_request_id(headers: Mapping[str, Any]) -> bool:
    """As all that AWS answers has one, and what is said in its place has none."""
    return any(name in headers for name in REQUEST_IDS)


def _unanswered(
    exceptions: Any,
) -> list[tuple[tuple[type[Exception], ...], Callable[[Exception, str, bool], Exception]]]:
    """First match wins: botocore's no-credentials errors are narrower than its base error."""
    import aiohttp  # noqa: PLC0415 - comes with aioboto3, and is as slow to import
    from botocore.eventstream import ParserError  # noqa: PLC0415 - as above
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    return [
        (
            (
                exceptions.NoCredentialsError,
                exceptions.PartialCredentialsError,
                exceptions.ProfileNotFound,
                exceptions.SSOError,
                exceptions.TokenRetrievalError,
                exceptions.UnauthorizedSSOTokenError,
                exceptions.CredentialRetrievalError,
                exceptions.MetadataRetrievalError,
                exceptions.InvalidConfigError,  # a loop of profiles, an sso-session that is not there
                exceptions.ConfigParseError,
                exceptions.ConfigNotFound,
            ),
            _no_credentials,
        ),
        ((exceptions.NoRegionError,), _no_region),
        ((exceptions.SSLError,), _distrusted),
        (
            (
                exceptions.HTTPClientError,
                exceptions.ConnectionError,
                exceptions.ResponseStreamingError,
                exceptions.IncompleteReadError,
                aiohttp.ClientError,
                asyncio.TimeoutError,
                ConnectionError,
                ResponseParserError,
                ParserError,  # of a stream of events
                exceptions.PaginationError,  # a page that leads back to itself
                exceptions.ChecksumError if hasattr(exceptions, "ChecksumError") else ResponseParserError,
            ),
            _lost,
        ),
        ((exceptions.ParamValidationError, exceptions.BotoCoreError), _refused),
        # botocore fails so on a body that is not AWS's: `null`, a list, a date that is a word or that no
        # calendar has, JSON that is nested too deeply.
        (
            (ValueError, TypeError, LookupError, AttributeError, SyntaxError, OverflowError, RuntimeError),
            _lost,
        ),
    ]


def _no_credentials(error: Exception, operation: str, create: bool) -> Exception:  # noqa: ARG001, FBT001
    return CredentialsError(
        f"{operation}: no usable AWS credentials ({_words(error)}).", hint=CREDENTIALS_HINT
    )


def _words(error: Exception) -> str:
    return one_line(str(error), LONGEST_MESSAGE)


def _no_region(error: Exception, operation: str, create: bool) -> Exception:  # noqa: ARG001, FBT001
    return ConfigurationError(f"{operation}: no AWS region.", hint="Give --region, or region under [aws].")


def _distrusted(error: Exception, operation: str, create: bool) -> Exception:  # noqa: FBT001
    """It may pass: a captive portal has a certificate of its own."""
    return _lost(error, operation, create, hint=TLS_HINT)


def _lost(error: Exception, operation: str, create: bool, *, hint: str | None = None) -> Exception:  # noqa: FBT001
    kind = UncertainCreate if create else AwsUnavailable
    return kind(f"{operation}: no answer ({type(error).__name__}: {_words(error)}).", hint=hint)


def _refused(error: Exception, operation: str, create: bool) -> Exception:  # noqa: ARG001, FBT001
    return AwsRefused(f"{operation}: {_words(error)}.", operation=operation)
