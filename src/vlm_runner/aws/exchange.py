"""
What is said between us and AWS, for those who write it down: one request and its final answer.

Repeats of botocore's own are one exchange, and a list has one a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_KEPT = "vlm_runner_request"


@dataclass(frozen=True, slots=True)
class RawExchange:
    """With everything in it, secrets too: see `vlm_runner.verify.redaction` before it is kept."""

    at: datetime
    service: str
    """As botocore names it, such as `bedrock-runtime`."""
    operation: str
    request: Mapping[str, Any]
    request_shape: Any
    """botocore's description of the request's members; None where the operation takes none."""
    status: int
    code: str | None
    message: str | None
    answer: Mapping[str, Any]
    """The members of an answer; empty for a refusal."""
    answer_shape: Any


def listen(events: Any, heard: Callable[[RawExchange], None]) -> None:
    """Call `heard` with each exchange of the client that these events are of."""

    def asked(*, params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context[_KEPT] = dict(params)

    def answered(*, http_response: Any, parsed: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
        members = parsed if isinstance(parsed, dict) else {}
        error = members.get("Error") or {}
        refused = http_response.status_code >= 300
        heard(
            RawExchange(
                at=datetime.now(UTC),
                service=model.service_model.service_name,
                operation=model.name,
                request=context.get(_KEPT, {}),
                request_shape=model.input_shape,
                status=http_response.status_code,
                code=str(error["Code"]) if refused and error.get("Code") else None,
                message=str(error["Message"]) if refused and error.get("Message") else None,
                answer={} if refused else {k: v for k, v in members.items() if k != "ResponseMetadata"},
                answer_shape=model.output_shape,
            )
        )

    events.register_first("before-parameter-build", asked)
    events.register("after-call", answered)
