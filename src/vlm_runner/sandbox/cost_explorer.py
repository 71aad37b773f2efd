"""AWS Cost Explorer, as far as GetCostAndUsage by a tag goes: the ledger's sums, without AWS's delay."""

from collections import defaultdict

from vlm_runner.sandbox.errors import AwsError, error_reply
from vlm_runner.sandbox.http import HttpReply, HttpRequest, json_reply
from vlm_runner.sandbox.state import SandboxState

_USAGE = {
    "customization_job": "Customization-Training",
    "custom_model": "Customization-Storage",
    "provisioned_throughput": "ProvisionedThroughput-NoCommit-ModelUnits",
    "on_demand_invocations": "tokens-custom-model",
}


def handle_cost_explorer(request: HttpRequest, state: SandboxState) -> HttpReply:
    if not request.headers.get("x-amz-target", "").endswith(".GetCostAndUsage"):
        return error_reply("ce", AwsError("UnknownOperationException", "", 400))
    asked = request.json()
    wanted = asked.get("Filter", {}).get("Tags", {})
    sums: dict[str, float] = defaultdict(float)
    now = state.now()
    with state.lock:
        for entry in state.ledger.entries():
            if entry.tags.get(wanted.get("Key")) in wanted.get("Values", []):
                cost = entry.as_json(now, state.prices, state.scenario.rent_started)["cost_usd"]
                family = entry.model.usage_family or entry.model.name
                if cost and entry.kind in _USAGE:
                    sums[f"USE1-{family}-{_USAGE[entry.kind]}"] += cost
    groups = [
        {"Keys": [name], "Metrics": {"UnblendedCost": {"Amount": f"{usd:.10f}", "Unit": "USD"}}}
        for name, usd in sums.items()
    ]
    period = {"TimePeriod": asked.get("TimePeriod"), "Total": {}, "Groups": groups, "Estimated": True}
    return json_reply({"GroupDefinitions": asked.get("GroupBy", []), "ResultsByTime": [period]})
