"""AWS Cost Explorer: what was billed for a tag. AWS charges one cent for each request."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.errors import AwsUnavailable

if TYPE_CHECKING:
    from datetime import date

    from vlm_runner.aws.answers import AwsService

MOST_PAGES: Final = 20
"""Of one question: each costs a cent, and a run has few kinds of usage."""


class CostExplorer:
    def __init__(self, explorer: AwsService) -> None:
        self._explorer = explorer

    async def billed(self, tag: str, value: str, since: date, until: date) -> dict[str, Decimal]:
        """
        US dollars by usage type, from `since` up to and without `until`, of what carries the tag.

        Empty also where the tag is not activated for cost allocation.

        Raises:
            AwsRefused, AwsUnavailable: it cannot be asked, or answers in another currency.
        """
        found: dict[str, Decimal] = defaultdict(Decimal)
        more: dict[str, Any] = {}
        for _ in range(MOST_PAGES):
            answer = await self._explorer.call(
                "GetCostAndUsage",
                TimePeriod={"Start": since.isoformat(), "End": until.isoformat()},
                Granularity="MONTHLY",
                Metrics=["UnblendedCost"],
                Filter={"Tags": {"Key": tag, "Values": [value], "MatchOptions": ["EQUALS"]}},
                GroupBy=[{"Type": "DIMENSION", "Key": "USAGE_TYPE"}],
                **more,
            )
            for period in answer.parts("ResultsByTime"):
                for group in period.optional_parts("Groups"):
                    cost = group.part("Metrics").part("UnblendedCost")
                    if cost.text("Unit") != "USD":
                        raise cost.malformed("USD", "Unit", cost.text("Unit"))
                    found["".join(group.names("Keys"))] += cost.decimal("Amount")
            token = answer.optional_text("NextPageToken")
            if token is None:
                return dict(found)
            more = {"NextPageToken": token}
        raise AwsUnavailable(f"GetCostAndUsage: more than {MOST_PAGES} pages, at a cent each.")
