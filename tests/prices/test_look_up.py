"""What AWS lists is taken as its record says, or told and left to the next source."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.credentials import without_aws_variables
from vlm_runner.aws.answers import AwsAnswer
from vlm_runner.aws.ports import ListedPrice
from vlm_runner.aws.price_list import AwsPriceList
from vlm_runner.errors import AccessDenied, AwsUnavailable
from vlm_runner.models import find
from vlm_runner.prices import look_up, priced_catalogue
from vlm_runner.prices.look_up import GOOD_FOR, SECONDS
from vlm_runner.prices.usage_types import SUFFIXES, as_catalogued, usage_types
from vlm_runner.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOVA = "amazon.nova-lite-v1:0:300k"
TRAINING = "USE1-NovaLite-Customization-Training"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
AWS = "https://api.pricing.us-east-1.amazonaws.com"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    without_aws_variables(monkeypatch)
    return tmp_path / "cache"


def record(usd: Any = "0.0020000000", unit: str = "1K tokens", **attributes: str) -> dict[str, Any]:
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd}}
    return {
        "product": {"attributes": {"regionCode": "us-east-1", "usagetype": TRAINING, **attributes}},
        "terms": {"OnDemand": {"A.B": {"priceDimensions": {"A.B.C": dimension}}}},
    }


class Pages:
    """The service, answering with these pages of records."""

    def __init__(self, *pages: list[Any]) -> None:
        self._pages = pages

    async def pages(self, operation: str, **_: Any) -> AsyncIterator[AwsAnswer]:
        for records in self._pages:
            texts = [each if isinstance(each, str) else json.dumps(each) for each in records]
            yield AwsAnswer(operation, {"PriceList": texts})


async def found(*pages: list[Any]) -> ListedPrice | None:
    service: Any = Pages(*pages)
    return await AwsPriceList(service).find("us-east-1", TRAINING)


async def test_a_record_is_read_with_its_own_unit() -> None:
    assert await found([record()]) == ListedPrice(TRAINING, "1K tokens", Decimal("0.0020000000"))
    assert await found([]) is None
    assert await found([], [record()]) == await found([record(), record()])


def two_dimensions() -> dict[str, Any]:
    odd = record()
    term = odd["terms"]["OnDemand"]["A.B"]
    term["priceDimensions"]["A.B.D"] = term["priceDimensions"]["A.B.C"]
    return odd


def without_dollars() -> dict[str, Any]:
    odd = record()
    odd["terms"]["OnDemand"]["A.B"]["priceDimensions"]["A.B.C"]["pricePerUnit"] = {"CNY": "0.01"}
    return odd


@pytest.mark.parametrize(
    "odd",
    [
        [two_dimensions()],
        [without_dollars()],
        [record(regionCode="eu-west-1")],
        [record(usagetype="USE1-NovaPro-Customization-Training")],
        [record("0.002"), record("0.003")],
        [record("-1")],
        [record("NaN")],
        [record(7)],
        ["<html>"],
        ["[1]"],
        [{"product": {"attributes": {"regionCode": "us-east-1", "usagetype": TRAINING}}}],
    ],
    ids=range(11),
)
async def test_a_record_of_an_odd_form_is_an_error_and_no_guess(odd: list[Any]) -> None:
    with pytest.raises(AwsUnavailable, match="GetProducts"):
        await found(odd)


@pytest.mark.parametrize(
    ("name", "unit", "usd", "price"),
    [
        ("training_per_million_tokens", "1K tokens", "0.00378", "3.78"),
        ("training_per_million_tokens", "1M tokens", "3.78", "3.78"),
        ("custom_input_per_million_tokens", "1K tokens", "0.0003", "0.3"),
        ("throughput_per_unit_hour", "hour", "60.5", "60.5"),
        ("storage_per_month", "Model/month", "1.95", "1.95"),
        ("training_per_million_tokens", "hour", "3.78", None),
        ("throughput_per_unit_hour", "1K tokens", "60.5", None),
        ("storage_per_month", "GB-Mo", "1.95", None),
    ],
)
def test_units_are_read_and_never_assumed(name: str, unit: str, usd: str, price: str | None) -> None:
    value = as_catalogued(name, ListedPrice("x", unit, Decimal(usd)))

    assert value == (None if price is None else Decimal(price))


def test_the_usage_types_are_those_that_a_third_party_saw() -> None:
    nova_2 = usage_types(find("amazon.nova-2-lite-v1:0:256k"))

    assert nova_2["training_per_million_tokens"] == "USE1-Nova2.0Lite-Customization-Training"
    assert nova_2["throughput_per_unit_hour"] == "USE1-Nova2.0Lite-ProvisionedThroughput-NoCommit-ModelUnits"
    assert nova_2["custom_output_per_million_tokens"] == "USE1-Nova2.0Lite-output-tokens-custom-model"
    assert usage_types(find("meta.llama3-2-11b-instruct-v1:0:128k")) == {}


class Listing:
    """A price list that counts; `answer` is of every usage type."""

    def __init__(self, answer: Any = None, url: str = AWS) -> None:
        self.answer, self.url, self.asked = answer, url, 0

    async def source(self) -> str:
        return self.url

    async def find(self, region: str, usage_type: str) -> ListedPrice | None:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer == "silent":
            import anyio

            await anyio.sleep(3600)
        if self.answer is None:
            return None
        unit = "hour" if "ModelUnits" in usage_type else "1K tokens"
        unit = "Model/month" if usage_type.endswith("Storage") else unit
        return ListedPrice(usage_type, self.answer or unit, Decimal("0.5"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (AccessDenied("GetProducts: you may not."), "GetProducts: you may not."),
        (AwsUnavailable("GetProducts: a record of an odd form."), "GetProducts: a record of an odd form."),
        (None, f"AWS's price list has nothing for {TRAINING} (training_per_million_tokens)"),
        ("fortnight", f"gives {TRAINING} by 'fortnight', which is not a unit of training_per_million_tokens"),
        ("silent", f"did not answer within {SECONDS:.0f} seconds"),
    ],
)
async def test_what_cannot_be_had_is_told_and_the_next_source_counts(answer: Any, said: str) -> None:
    looked = await look_up(find(NOVA), Listing(answer), now=NOON)

    assert any(said in trouble for trouble in looked.troubles)
    assert looked.prices == {}
    catalogue = priced_catalogue(Settings(), {NOVA: looked.prices})
    assert catalogue.find(NOVA).prices == find(NOVA).prices


async def test_prices_are_kept_for_a_week_and_asked_for_again_when_told() -> None:
    price_list = Listing("")
    first = await look_up(find(NOVA), price_list, now=NOON)
    again = await look_up(find(NOVA), price_list, now=NOON + GOOD_FOR - timedelta(seconds=1))
    assert price_list.asked == len(SUFFIXES)
    assert again.prices == first.prices

    await look_up(find(NOVA), price_list, now=NOON, refresh=True)
    await look_up(find(NOVA), price_list, now=NOON + GOOD_FOR + timedelta(seconds=1))

    assert price_list.asked == 3 * len(SUFFIXES)


async def test_the_price_list_of_a_sandbox_never_counts_for_aws() -> None:
    sandbox = "http://127.0.0.1:4599"
    await look_up(find(NOVA), Listing("", url=sandbox), now=NOON)
    listed = priced_catalogue(Settings(endpoint_url=sandbox)).find(NOVA).prices
    of_aws = Listing("")

    assert listed.training_per_million_tokens == 500
    assert priced_catalogue(Settings()).find(NOVA).prices.training_per_million_tokens is None
    await look_up(find(NOVA), of_aws, now=NOON)
    assert of_aws.asked == len(SUFFIXES)


async def test_the_users_file_goes_before_aws_and_aws_before_the_snapshot(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(f'[models."{NOVA}".prices]\ntraining_per_million_tokens = 1.5\n')
    looked = await look_up(find(NOVA), Listing(""), now=NOON)

    prices = priced_catalogue(Settings(catalogue=own), {NOVA: looked.prices}).find(NOVA).prices

    assert prices.training_per_million_tokens == Decimal("1.5")
    assert prices.source_of("training_per_million_tokens").source == str(own)
    assert prices.throughput_per_unit_hour == Decimal("0.5")
    assert prices.source_of("throughput_per_unit_hour").source == "AWS Price List API"
    assert not prices.source_of("throughput_per_unit_hour").about
    assert prices.source_of("throughput_per_unit_hour_six_months") == find(NOVA).prices.source_of("x")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"amazon.nova-lite-v1:0:300k": {"at": "x", "prices": {}}}'])
async def test_a_cache_that_is_broken_is_looked_up_again(text: str, cache: Path) -> None:
    await look_up(find(NOVA), Listing(""), now=NOON)
    (cache / "vlm-runner" / "prices-aws.json").write_text(text)
    price_list = Listing("")

    looked = await look_up(find(NOVA), price_list, now=NOON)

    assert price_list.asked == len(looked.prices) == len(SUFFIXES)
