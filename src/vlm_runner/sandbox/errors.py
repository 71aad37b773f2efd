"""Errors in the form that AWS sends them."""

from vlm_runner.sandbox.http import HttpReply, json_reply

# Amazon S3 API reference, "Error responses"; used where an injected fault names only a code.
S3_STATUS = {
    "SlowDown": 503,
    "ServiceUnavailable": 503,
    "InternalError": 500,
    "RequestTimeout": 400,
    "PreconditionFailed": 412,
    "ConditionalRequestConflict": 409,
    "OperationAborted": 409,
    "AccessDenied": 403,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "ExpiredToken": 400,
    "NotImplemented": 501,
}
# Common errors of AWS's JSON and query protocols that single service models do not list.
COMMON_STATUS = {
    "ThrottlingException": 429,
    "Throttling": 400,
    "ExpiredTokenException": 403,
    "AccessDeniedException": 403,
    "InternalServerException": 500,
    "InternalFailure": 500,
    "ServiceUnavailableException": 503,
    "ModelNotReadyException": 429,
}
QUERY_SERVICES = frozenset({"sts", "iam", "ec2", "cloudformation", "sns", "autoscaling"})


class AwsError(Exception):
    """An error response: the code that botocore maps to an exception, and AWS's message."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


def not_found() -> AwsError:
    # The message of ResourceNotFoundException in the Amazon Bedrock API reference.
    return AwsError(
        "ResourceNotFoundException",
        "The specified resource Amazon Resource Name (ARN) was not found. "
        "Check the Amazon Resource Name (ARN) and try your request again.",
    )


def expired_token(service: str) -> AwsError:
    """S3 (API reference, Error responses) and the query protocol each have their own code for it."""
    sentence = "The provided token has expired."
    if service == "s3" or service in QUERY_SERVICES:
        return AwsError("ExpiredToken", sentence, 400 if service == "s3" else 403)
    return AwsError("ExpiredTokenException", "The security token included in the request is expired", 403)


def error_reply(service: str, error: AwsError) -> HttpReply:
    """The error in the protocol of `service`: S3's XML, the query protocol's XML, or JSON."""
    if service == "s3":
        status = error.status or S3_STATUS.get(error.code, 400)
        return xml_reply(
            status, f"<Error><Code>{error.code}</Code><Message>{error.message}</Message></Error>"
        )
    status = error.status or COMMON_STATUS.get(error.code, 400)
    if service in QUERY_SERVICES:
        inner = f"<Error><Code>{error.code}</Code><Message>{error.message}</Message></Error>"
        return xml_reply(status, f"<ErrorResponse>{inner}<RequestId>sandbox</RequestId></ErrorResponse>")
    body = {"__type": error.code, "message": error.message}
    return json_reply(body, status, extra=[("x-amzn-ErrorType", error.code)])


def xml_reply(status: int, body: str) -> HttpReply:
    document = f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'
    return HttpReply(status, [("content-type", "application/xml")], document.encode())
