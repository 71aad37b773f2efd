"""Client request tokens, remembered for a limited time."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from vlm_runner.sandbox.errors import AwsError

_ANY = Mapping[str, Any]


class TokenMemory:
    """
    "If this token matches a previous request, Amazon Bedrock ignores the request, but does not return
    an error" (API reference). AWS does not publish for how long, so tokens expire here.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[datetime, dict[str, Any], str]] = {}

    def recall(
        self, operation: str, parameters: _ANY, now: datetime, memory: timedelta, *, clash: str
    ) -> str | None:
        """
        The ARN of what the same request created earlier, if any.

        Raises:
            AwsError: `clash`, if the token was used for different parameters.
        """
        self._forget(now - memory)
        known = self._seen.get((operation, str(parameters.get("clientRequestToken"))))
        if known is None:
            return None
        if known[1] != dict(parameters):
            raise AwsError(clash, "The client request token was already used with different parameters.")
        return known[2]

    def remember(self, operation: str, parameters: _ANY, now: datetime, arn: str) -> None:
        if token := parameters.get("clientRequestToken"):
            self._seen[operation, str(token)] = (now, dict(parameters), arn)

    def _forget(self, before: datetime) -> None:
        for key in [key for key, (when, _, _) in self._seen.items() if when <= before]:
            del self._seen[key]
