"""AWS's price list, by the Price List Query API (GetProducts): free, with read rights of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.aws.ports import ListedPrice

if TYPE_CHECKING:
    from vlm_runner.aws.answers import AwsAnswer, AwsService


class AwsPriceList:
    def __init__(self, pricing: AwsService) -> None:
        self._pricing = pricing

    async def source(self) -> str:
        url, _ = await self._pricing.endpoint()
        return url

    async def find(self, region: str, usage_type: str) -> ListedPrice | None:
        asked = {"regionCode": region, "usagetype": usage_type}
        pages = self._pricing.pages(
            "GetProducts",
            about=usage_type,
            ServiceCode="AmazonBedrock",
            Filters=[
                {"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in asked.items()
            ],
        )
        found: set[ListedPrice] = set()
        async for page in pages:
            found |= {_price(record, asked) for record in page.documents("PriceList")}
            if len(found) > 1:
                raise page.malformed("one price", "PriceList", [str(each.usd) for each in found])
        return found.pop() if found else None


def _price(record: AwsAnswer, asked: dict[str, str]) -> ListedPrice:
    attributes = record.part("product").part("attributes")
    for field, value in asked.items():
        if attributes.text(field) != value:
            raise attributes.malformed(f"{value}, which was asked for", field, attributes.text(field))
    terms = record.part("terms").values("OnDemand")
    dimensions = [each for term in terms for each in term.values("priceDimensions")]
    if len(dimensions) != 1:
        raise record.malformed("one price", "priceDimensions", len(dimensions))
    (only,) = dimensions
    amounts = only.part("pricePerUnit")
    usd = amounts.decimal("USD")
    if usd < 0:
        raise amounts.malformed("another form", "USD", amounts.text("USD"))
    return ListedPrice(asked["usagetype"], only.text("unit"), usd)
