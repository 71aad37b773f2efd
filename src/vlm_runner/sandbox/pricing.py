"""
The Price List Query API, as far as Bedrock's prices go: GetProducts, which sells at what the ledger bills.

Shape: AWS's API reference, and readers of it that work; usage types as a third party read them in 2026-08.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from vlm_runner.sandbox.catalogue import FoundationModel, Prices, foundation_models
from vlm_runner.sandbox.errors import AwsError, error_reply
from vlm_runner.sandbox.http import HttpReply, HttpRequest, json_reply
from vlm_runner.sandbox.prices import PriceList

REGIONS = {"us-east-1", "eu-central-1", "ap-south-1"}
"""Where the API has an endpoint (AWS General Reference, Price List Query API)."""
PREFIX = {"us-east-1": "USE1", "us-west-2": "USW2"}
PAGE = 100


def handle_pricing(request: HttpRequest, region: str, price_list: PriceList) -> HttpReply:
    if region not in REGIONS:
        return _refused("UnknownOperationException", f"The Price List Query API is not in {region}.")
    if request.headers.get("x-amz-target", "") != "AWSPriceListService.GetProducts":
        return _refused("UnknownOperationException", "")
    asked = request.json()
    if asked.get("ServiceCode") != "AmazonBedrock":
        return _refused("InvalidParameterException", f"Invalid service code: {asked.get('ServiceCode')}")
    filters = {each["Field"]: each["Value"] for each in asked.get("Filters", [])}
    found = [json.dumps(record) for record in _records(price_list) if _fits(record, filters)]
    most, begin = int(asked.get("MaxResults", PAGE)), int(asked.get("NextToken") or 0)
    if not 1 <= most <= PAGE:
        return _refused("InvalidParameterException", f"MaxResults must be from 1 to {PAGE}.")
    more = {"NextToken": str(begin + most)} if begin + most < len(found) else {}
    return json_reply({"FormatVersion": "aws_v1", "PriceList": found[begin : begin + most]} | more)


def _refused(code: str, message: str) -> HttpReply:
    return error_reply("pricing", AwsError(code, message, 400))


def _fits(record: dict[str, Any], filters: dict[str, str]) -> bool:
    attributes = record["product"]["attributes"]
    return all(attributes.get(field) == value for field, value in filters.items())


def _records(price_list: PriceList) -> Iterator[dict[str, Any]]:
    for model in foundation_models():
        if model.usage_family is None:
            continue
        prices, _ = price_list.of(model)
        for suffix, unit, usd, more in _sold(prices):
            if usd is not None:
                yield _record(model, suffix, unit, usd, more)


def _sold(prices: Prices) -> Iterator[tuple[str, str, float | None, dict[str, str]]]:
    """Usage type without region and model, unit, price of one, and further attributes."""
    custom, base = {"feature": "Model Customization"}, {"feature": "On-demand Inference"}
    tokens_in, tokens_out = {"inferenceType": "Input tokens"}, {"inferenceType": "Output tokens"}
    yield "Customization-Training", "1K tokens", _of_a_thousand(prices.training_per_million), custom
    yield "Customization-Storage", "Model/month", prices.storage_per_month, custom
    yield "input-tokens", "1K tokens", _of_a_thousand(prices.input_per_million), base | tokens_in
    yield "output-tokens", "1K tokens", _of_a_thousand(prices.output_per_million), base | tokens_out
    custom_in = _of_a_thousand(prices.custom_input_per_million)
    custom_out = _of_a_thousand(prices.custom_output_per_million)
    yield "input-tokens-custom-model", "1K tokens", custom_in, custom | tokens_in
    yield "output-tokens-custom-model", "1K tokens", custom_out, custom | tokens_out
    for commitment, term, said in (
        ("none", "NoCommit", "no commit"),
        ("OneMonth", "1month", "1 month"),
        ("SixMonths", "6months", "6 months"),
    ):
        feature = {"feature": f"Provisioned Throughput Inference - {said}"}
        name = f"ProvisionedThroughput-{term}-ModelUnits"
        yield name, "hour", prices.unit_hour.get(commitment), feature


def _of_a_thousand(per_million: float | None) -> float | None:
    return None if per_million is None else per_million / 1000


def _record(
    model: FoundationModel, suffix: str, unit: str, usd: float, more: dict[str, str]
) -> dict[str, Any]:
    usage_type = f"{PREFIX[model.region]}-{model.usage_family}-{suffix}"
    sku = hashlib.sha256(usage_type.encode()).hexdigest()[:16].upper()
    offer, rate = f"{sku}.JRTCKXETXF", f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    dimension = {
        "unit": unit,
        "endRange": "Inf",
        "beginRange": "0",
        "description": f"${usd:.10f} per {unit} for {usage_type}",
        "appliesTo": [],
        "rateCode": rate,
        "pricePerUnit": {"USD": f"{usd:.10f}"},
    }
    return {
        "product": {
            "productFamily": "Amazon Bedrock",
            "sku": sku,
            "attributes": {
                "servicecode": "AmazonBedrock",
                "servicename": "Amazon Bedrock",
                "regionCode": model.region,
                "usagetype": usage_type,
                "model": model.name,
                "provider": model.provider,
            }
            | more,
        },
        "serviceCode": "AmazonBedrock",
        "terms": {"OnDemand": {offer: {"priceDimensions": {rate: dimension}, "sku": sku}}},
        "version": "20261120000000",
        "publicationDate": "2026-11-20T00:00:00Z",
    }
