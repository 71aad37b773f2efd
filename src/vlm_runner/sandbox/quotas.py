"""
Service Quotas for Bedrock, which moto lacks: those that apply to fine-tuning runs.

Codes: "Amazon Bedrock endpoints and quotas" (AWS General Reference).
"""

from collections.abc import Callable, Mapping
from typing import Any

from vlm_runner.sandbox.errors import AwsError, error_reply
from vlm_runner.sandbox.http import HttpReply, HttpRequest, json_reply
from vlm_runner.sandbox.scenario import Scenario

_QUOTAS: dict[str, tuple[str, Callable[[Scenario], int]]] = {
    "L-BE77399C": (
        "Model units no-commitment Provisioned Throughputs across custom models",
        lambda scenario: scenario.no_commitment_units,
    ),
    "L-E5FD5C04": (
        "Sum of training and validation records for a Llama 3.2 11B Fine-tuning job",
        lambda _: 10_000,
    ),
    "L-8076814C": (
        "Sum of training and validation records for a Llama 3.2 90B Fine-tuning job",
        lambda _: 10_000,
    ),
    "L-031F46A7": (
        "Sum of training and validation records for a Nova Lite Fine-tuning job",
        lambda _: 20_000,
    ),
    "L-70FC4C0E": ("Sum of training and validation records for a Nova Pro Fine-tuning job", lambda _: 20_000),
    "L-82EE9228": (
        "Sum of training and validation records for a Nova 2 Lite Fine-tuning job",
        lambda _: 20_000,
    ),
}


def handle_quotas(request: HttpRequest, region: str, account: str, scenario: Scenario) -> HttpReply | None:
    """The reply for Bedrock's quotas; None for another service's, which moto answers."""
    body: Mapping[str, Any] = request.json() if request.body else {}
    if body.get("ServiceCode") != "bedrock":
        return None
    rows = {code: _row(code, region, account, scenario) for code in _QUOTAS}
    match request.headers.get("x-amz-target", "").rpartition(".")[2]:
        case "ListServiceQuotas" | "ListAWSDefaultServiceQuotas":
            return json_reply({"Quotas": list(rows.values())})
        case "GetServiceQuota" | "GetAWSDefaultServiceQuota" if body.get("QuotaCode") in rows:
            return json_reply({"Quota": rows[body["QuotaCode"]]})
        case "GetServiceQuota" | "GetAWSDefaultServiceQuota":
            message = "The request failed because the specified quota does not exist."
            return error_reply("servicequotas", AwsError("NoSuchResourceException", message, 400))
        case _:
            return None


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
        "Adjustable": True,
        "GlobalQuota": False,
    }
