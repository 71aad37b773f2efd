"""The table from AWS's errors to ours, row by row: what a code means decides what a run does."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from botocore import exceptions
from botocore.parsers import ResponseParserError

from vlm_runner.aws.errors import KINDS, answered, kind_of, translate
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

ROWS: list[tuple[str, int, type[VlmRunnerError], type[VlmRunnerError]]] = [
    # code, status, what it is, what it is for a create
    ("InternalServerException", 500, AwsUnavailable, UncertainCreate),
    ("InternalError", 500, AwsUnavailable, UncertainCreate),
    ("InternalFailure", 500, AwsUnavailable, UncertainCreate),
    ("ServiceUnavailableException", 503, AwsUnavailable, UncertainCreate),
    ("ServiceUnavailable", 503, AwsUnavailable, UncertainCreate),
    ("RequestTimeout", 400, AwsUnavailable, UncertainCreate),
    ("RequestTimeoutException", 400, AwsUnavailable, UncertainCreate),
    ("ModelTimeoutException", 408, AwsUnavailable, UncertainCreate),
    ("ModelErrorException", 424, AwsUnavailable, UncertainCreate),
    ("OperationAborted", 409, AwsUnavailable, UncertainCreate),
    ("BadDigest", 400, AwsUnavailable, UncertainCreate),
    ("XAmzContentSHA256Mismatch", 400, AwsUnavailable, UncertainCreate),
    # AWS throttles before it acts: nothing was created.
    ("ThrottlingException", 429, Throttled, Throttled),
    ("TooManyRequestsException", 429, Throttled, Throttled),
    ("SlowDown", 503, Throttled, Throttled),
    ("Throttling", 400, Throttled, Throttled),
    ("RequestLimitExceeded", 503, Throttled, Throttled),
    ("ModelNotReadyException", 429, ModelNotReady, ModelNotReady),
    ("ServiceQuotaExceededException", 400, QuotaExceeded, QuotaExceeded),
    ("LimitExceededException", 400, QuotaExceeded, QuotaExceeded),
    ("TooManyBuckets", 400, QuotaExceeded, QuotaExceeded),
    ("ResourceLimitExceeded", 400, QuotaExceeded, QuotaExceeded),
    ("ExpiredToken", 400, CredentialsError, CredentialsError),
    ("ExpiredTokenException", 403, CredentialsError, CredentialsError),
    ("InvalidClientTokenId", 403, CredentialsError, CredentialsError),
    ("UnrecognizedClientException", 403, CredentialsError, CredentialsError),
    ("SignatureDoesNotMatch", 403, CredentialsError, CredentialsError),
    ("RequestTimeTooSkewed", 403, CredentialsError, CredentialsError),
    ("AuthFailure", 401, CredentialsError, CredentialsError),
    ("IncompleteSignature", 400, CredentialsError, CredentialsError),
    ("InvalidAccessKeyId", 403, CredentialsError, CredentialsError),
    ("InvalidSignatureException", 403, CredentialsError, CredentialsError),
    ("InvalidToken", 400, CredentialsError, CredentialsError),
    ("RequestExpired", 400, CredentialsError, CredentialsError),
    ("AccessDenied", 403, AccessDenied, AccessDenied),
    ("AccessDeniedException", 403, AccessDenied, AccessDenied),
    ("AllAccessDisabled", 403, AccessDenied, AccessDenied),
    ("NotAuthorized", 400, AccessDenied, AccessDenied),
    ("OptInRequired", 403, AccessDenied, AccessDenied),
    ("UnauthorizedOperation", 403, AccessDenied, AccessDenied),
    ("ResourceNotFoundException", 404, NotFound, NotFound),
    ("NoSuchKey", 404, NotFound, NotFound),
    ("NoSuchBucket", 404, NotFound, NotFound),
    ("404", 404, NotFound, NotFound),
    ("NoSuchUpload", 404, NotFound, NotFound),
    ("ResourceNotFound", 400, NotFound, NotFound),
    ("AWS.SimpleQueueService.NonExistentQueue", 400, NotFound, NotFound),
    ("ConflictException", 400, Conflict, Conflict),
    ("PreconditionFailed", 412, Conflict, Conflict),
    ("BucketAlreadyOwnedByYou", 409, Conflict, Conflict),
    ("BucketAlreadyExists", 409, Conflict, Conflict),
    ("ConditionalRequestConflict", 409, Conflict, Conflict),
    ("ResourceInUseException", 400, Conflict, Conflict),
    ("ValidationException", 400, AwsRefused, AwsRefused),
    # Codes that nobody has heard of go by their status.
    ("Novel", 500, AwsUnavailable, UncertainCreate),
    ("Novel", 502, AwsUnavailable, UncertainCreate),
    ("Novel", 599, AwsUnavailable, UncertainCreate),
    ("Novel", 429, Throttled, Throttled),
    ("Novel", 403, AccessDenied, AccessDenied),
    ("Novel", 404, NotFound, NotFound),
    ("Novel", 409, Conflict, Conflict),
    ("Novel", 400, AwsRefused, AwsRefused),
    ("Novel", 499, AwsRefused, AwsRefused),
    ("", 503, AwsUnavailable, UncertainCreate),
]


def response(code: str, status: int, message: str = "why") -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(("code", "status", "kind", "of_create"), ROWS)
def test_a_code_and_a_status_have_one_meaning(
    code: str, status: int, kind: type[VlmRunnerError], of_create: type[VlmRunnerError]
) -> None:
    plain = answered(response(code, status), "Operation", create=False)
    create = answered(response(code, status), "Operation", create=True)

    assert type(plain) is kind
    assert type(create) is of_create
    assert plain.message == f"Operation: {code or status}: why."


@pytest.mark.parametrize(
    ("code", "kind"),
    [(code, kind) for code, _, kind, _ in ROWS if code not in {"Novel", "", "ValidationException"}],
)
def test_a_known_code_decides_whatever_the_status(code: str, kind: type[VlmRunnerError]) -> None:
    """S3 answers 200 and puts the error into the body; within a stream of events there is no status."""
    assert kind_of(code, 200) is kind
    assert type(answered({"Error": {"Code": code}}, "Operation", create=False)) is kind


def test_an_answer_without_code_status_or_message_is_a_refusal_that_says_so() -> None:
    refused = answered({}, "Operation", create=True)

    assert type(refused) is AwsRefused
    assert refused.message == "Operation: 0: no message."


def test_rows_above_name_every_code_of_the_table() -> None:
    assert KINDS.keys() <= {code for code, *_ in ROWS}


def test_every_code_of_the_table_is_of_a_kind_that_its_name_says() -> None:
    """A row above cannot hold a slip of the table that its name contradicts."""
    for code, kind in KINDS.items():
        if "Throttl" in code or code.startswith("TooManyRequests"):
            assert kind is Throttled, code
        if "NotFound" in code or code.startswith("NoSuch"):
            assert kind is NotFound, code
        if "AccessDenied" in code:
            assert kind is AccessDenied, code
        if "Token" in code or "Signature" in code:
            assert kind is CredentialsError, code
        if "Internal" in code or "Unavailable" in code or "Timeout" in code:
            assert kind is AwsUnavailable, code


def test_a_legacy_model_is_a_refusal_and_not_missing() -> None:
    message = "Access denied. This Model is marked by provider as Legacy and you have not used it."

    assert kind_of("ResourceNotFoundException", 404, message) is AwsRefused
    assert type(answered(response("ResourceNotFoundException", 404, message), "x", create=True)) is AwsRefused


def test_a_refusal_keeps_its_code_and_operation() -> None:
    refused = answered(response("ValidationException", 400), "CreateModelCustomizationJob", create=True)

    assert isinstance(refused, AwsRefused)
    assert (refused.code, refused.operation) == ("ValidationException", "CreateModelCustomizationJob")


def test_credentials_that_aws_refuses_say_how_to_check_them() -> None:
    assert "get-caller-identity" in (answered(response("ExpiredToken", 400), "x", create=False).hint or "")


URL = "http://127.0.0.1:1/"

UNANSWERED: list[tuple[Exception, type[Exception], type[Exception]]] = [
    (exceptions.EndpointConnectionError(endpoint_url=URL), AwsUnavailable, UncertainCreate),
    (exceptions.ConnectTimeoutError(endpoint_url=URL), AwsUnavailable, UncertainCreate),
    (exceptions.ReadTimeoutError(endpoint_url=URL), AwsUnavailable, UncertainCreate),
    (exceptions.ConnectionClosedError(endpoint_url=URL), AwsUnavailable, UncertainCreate),
    (exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), AwsUnavailable, UncertainCreate),
    (exceptions.ResponseStreamingError(error="cut"), AwsUnavailable, UncertainCreate),
    (exceptions.SSLError(endpoint_url=URL, error=OSError("x")), AwsUnavailable, UncertainCreate),
    (aiohttp.ClientPayloadError("cut"), AwsUnavailable, UncertainCreate),
    (TimeoutError(), AwsUnavailable, UncertainCreate),
    (ConnectionResetError(), AwsUnavailable, UncertainCreate),
    (ResponseParserError("not JSON"), AwsUnavailable, UncertainCreate),
    (RuntimeError("Unable to calculate correct timezone offset"), AwsUnavailable, UncertainCreate),
    (OverflowError("date value out of range"), AwsUnavailable, UncertainCreate),
    (RecursionError(), AwsUnavailable, UncertainCreate),
    (exceptions.NoCredentialsError(), CredentialsError, CredentialsError),
    (exceptions.PartialCredentialsError(provider="x", cred_var="y"), CredentialsError, CredentialsError),
    (exceptions.ProfileNotFound(profile="x"), CredentialsError, CredentialsError),
    (exceptions.UnauthorizedSSOTokenError(), CredentialsError, CredentialsError),
    (exceptions.NoRegionError(), ConfigurationError, ConfigurationError),
    (exceptions.ParamValidationError(report="x"), AwsRefused, AwsRefused),
]


@pytest.mark.parametrize(
    ("error", "kind", "of_create"), UNANSWERED, ids=[type(error).__name__ for error, _, _ in UNANSWERED]
)
def test_no_answer_is_doubt_for_a_create_and_nothing_else(
    error: Exception, kind: type[Exception], of_create: type[Exception]
) -> None:
    assert type(translate(error, "Operation", create=False)) is kind
    assert type(translate(error, "Operation", create=True)) is of_create


def test_what_is_neither_awss_nor_the_networks_stays_itself() -> None:
    error = ZeroDivisionError()

    assert translate(error, "Operation", create=True) is error


@pytest.mark.parametrize(
    "message",
    [
        "Could not assume provided IAM role. Please verify the role and its trust policy.",
        "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.",
    ],
)
def test_a_role_that_a_service_cannot_assume_is_an_error_of_its_own(message: str) -> None:
    """Both arrive as ValidationException, which is otherwise the last word."""
    found = answered(response("ValidationException", 400, message), "x", create=True)

    assert type(found) is RoleNotAssumable
    assert "trust policy" in str(found)
