"""
Service Quotas for Bedrock, which moto lacks: those that apply to fine-tuning runs.

Codes: "Amazon Bedrock endpoints and quotas" (AWS General Reference).
"""

from collections.abc import Callable, Mapping
from typing import Any

from vlm_runner.sandbox.errors import AwsError, error_reply
from vlm_runner.sandbox.http import HttpReply, HttpRequest, json_reply
from vlm_runner.sandbox.scenario import Scenario


def _units(scenario: Scenario) -> int:
    return scenario.no_commitment_units


_PER_MODEL = "Model units per provisioned model for "
_NO_COMMITMENT = "No-commitment model units for Provisioned Throughput"
_RECORDS = "(Model customization) Sum of training and validation records for a "
_QUOTAS: dict[str, tuple[str, Callable[[Scenario], int]]] = {
    "L-BE77399C": ("Model units no-commitment Provisioned Throughputs across custom models", _units),
    "L-4532261E": (f"{_PER_MODEL}the 24k context length variant for Amazon Nova Lite", lambda _: 0),
    "L-127FC9D0": (f"{_PER_MODEL}the 300k context length variant for Amazon Nova Lite", _units),
    "L-9C8C5911": (f"{_PER_MODEL}the 24k context length variant for Amazon Nova Pro", lambda _: 0),
    "L-E48B7984": (f"{_PER_MODEL}the 300k context length variant for Amazon Nova Pro", _units),
    "L-1679CB40": (f"{_PER_MODEL}Meta Llama 3.2 11B Instruct", _units),
    "L-DEE3A9C7": (f"{_PER_MODEL}Meta Llama 3.2 90B Instruct", _units),
    # Its code is nowhere published: this one is made up.
    "L-00002117": (
        f"{_NO_COMMITMENT} created for custom model Amazon Nova 2 Lite V1.0 256K",
        _units,
    ),
    "L-1EF80F3E": (
        "(Model customization) Total number of custom model deployments",
        lambda scenario: scenario.deployments,
    ),
    "L-E5FD5C04": (f"{_RECORDS}Meta Llama 3.2 11B Instruct Fine-tuning job", lambda _: 10_000),
    "L-8076814C": (f"{_RECORDS}Meta Llama 3.2 90B Instruct Fine-tuning job", lambda _: 10_000),
    "L-031F46A7": (f"{_RECORDS}Amazon Nova Lite Fine-tuning job", lambda _: 20_000),
    "L-70FC4C0E": (f"{_RECORDS}Amazon Nova Pro Fine-tuning job", lambda _: 20_000),
    "L-82EE9228": (f"{_RECORDS}Amazon Nova 2 Lite Fine-tuning job", lambda _: 20_000),
}
_NOT_ADJUSTABLE = {"L-00002117"}


def handle_quotas(request: HttpRequest, region: str, account: str, scenario: Scenario) -> HttpReply | None:
    """The reply for Bedrock's quotas; None for another service's, which moto answers."""
    body: Mapping[str, Any] = request.json() if request.body else {}
    if body.get("ServiceCode") != "bedrock":
        return None
    rows = {code: _row(code, region, account, scenario) for code in _QUOTAS}
    match request.headers.get("x-amz-target", "").rpartition(".")[2]:
        case "ListServiceQuotas" | "ListAWSDefaultServiceQuotas":
            return json_reply({"Quotas": list(rows.values())})
        case "GetServiceQuota" if body.get("QuotaCode") in rows and not _applied(body["QuotaCode"], scenario):
            return _no_such_quota()
        case "GetServiceQuota" | "GetAWSDefaultServiceQuota" if body.get("QuotaCode") in rows:
            return json_reply({"Quota": rows[body["QuotaCode"]]})
        case "GetServiceQuota" | "GetAWSDefaultServiceQuota":
            return _no_such_quota()
        case _:
            return None


def _no_such_quota() -> HttpReply:
    message = "The request failed because the specified quota does not exist."
    return error_reply("servicequotas", AwsError("NoSuchResourceException", message, 400))


def _applied(code: str, scenario: Scenario) -> bool:
    """Whether the account was ever given a value of its own (else GetServiceQuota knows no such resource)."""
    return _QUOTAS[code][1](scenario) != _QUOTAS[code][1](Scenario())


def _row(code: str, region: str, account: str, scenario: Scenario) -> dict[str, Any]:
    name, value = _QUOTAS[code]
    return {
        "ServiceCode": "bedrock",
        "ServiceName": "Amazon Bedrock",
        "QuotaArn": f"arn:aws:servicequotas:{region}:{account}:bedrock/{code}",
        "QuotaCode": code,
        "QuotaName": name,
        "Value": float(value(scenario)),
        "Unit": "None",
        "Adjustable": code not in _NOT_ADJUSTABLE,
        "GlobalQuota": False,
    }
