"""
EventBridge: Bedrock publishes to the default bus when a customization job changes state.

Format: user guide, monitoring-eventbridge. Delivery is best effort: events can be lost, delayed or repeated.
"""

import traceback
import uuid
from datetime import datetime, timedelta
from typing import Any

from vlm_runner.sandbox.http import timestamp
from vlm_runner.sandbox.resources import Job
from vlm_runner.sandbox.scenario import Scenario


class EventPublisher:
    def __init__(self, account: str) -> None:
        self._account = account
        self.reset()

    def reset(self) -> None:
        self._outbox: list[tuple[datetime, str, dict[str, Any]]] = []

    def publish(self, region: str, job: Job, when: datetime, now: datetime, scenario: Scenario) -> Scenario:
        """Send, drop, duplicate or delay the event; return the scenario with what it used up."""
        if scenario.drop_events:
            return scenario.model_copy(update={"drop_events": scenario.drop_events - 1})
        copies = 2 if scenario.duplicate_events else 1
        due = now + timedelta(seconds=scenario.delay_events_seconds)
        event = _event(self._account, region, job, when)
        self._outbox += [(due, region, event)] * copies
        left = max(0, scenario.duplicate_events - 1)
        return scenario.model_copy(update={"duplicate_events": left})

    def deliver(self, now: datetime) -> None:
        due = [(region, event) for when, region, event in self._outbox if when <= now]
        self._outbox = [waiting for waiting in self._outbox if waiting[0] > now]
        for region, event in due:
            _put(self._account, region, event)


def _event(account: str, region: str, job: Job, when: datetime) -> dict[str, Any]:
    status = job.status(when)
    validators = job.request.get("validationDataConfig", {}).get("validators", [])
    detail = {
        "version": "0.0",
        "jobName": job.name,
        "jobArn": job.arn,
        "outputModelName": job.request["customModelName"],
        "outputModelArn": job.model_arn if status == "Completed" else None,
        "roleArn": job.request["roleArn"],
        "jobStatus": status,
        "failureMessage": job.failure if status == "Failed" else None,
        "creationTime": timestamp(job.created_at),
        "lastModifiedTime": timestamp(when),
        "endTime": timestamp(ended) if (ended := job.ended_at(when)) else None,
        "baseModelArn": job.base_arn,
        "hyperParameters": job.request.get("hyperParameters", {}),
        "trainingDataConfig": {"s3Uri": job.request["trainingDataConfig"]["s3Uri"]},
        "validationDataConfig": {"s3Uri": validators[0]["s3Uri"]} if validators else None,
        "outputDataConfig": job.request["outputDataConfig"],
    }
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "source": "aws.bedrock",
        "detail-type": "Model Customization Job State Change",
        "account": account,
        "time": when.timestamp(),  # moto writes it as ISO 8601 on delivery
        "region": region,
        "resources": [job.arn],
        "detail": {name: value for name, value in detail.items() if value is not None},
    }


def _put(account: str, region: str, event: dict[str, Any]) -> None:
    # Bypasses PutEvents, which rejects what only a service can set: source, account and time.
    from moto.events.models import events_backends  # noqa: PLC0415 -- moto is imported when first needed

    rules = events_backends[account][region].event_buses["default"].rules
    for rule in list(rules.values()):
        if rule.state != "ENABLED" or not rule.event_pattern.get_pattern():
            continue
        # moto's default template forgets the account, so only targets with a transformer use one.
        transforms = any("InputTransformer" in target for target in rule.targets)
        message = {**event, "ingestion-time": event["time"]} if transforms else dict(event)
        try:
            rule.send_to_targets(message, transform_input=transforms)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 -- a missing target must not stop delivery to the others
            traceback.print_exc()
