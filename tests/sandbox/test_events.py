"""EventBridge tells of job states, as well as it can."""

import json
from typing import Any

from .desk import Desk


def subscribed(desk: Desk) -> tuple[Any, str]:
    sqs, events = desk.client("sqs"), desk.client("events")
    url = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {
        "source": ["aws.bedrock"],
        "detail-type": ["Model Customization Job State Change"],
        "detail": {"jobStatus": ["Completed", "Failed", "Stopped"]},
    }
    events.put_rule(Name="jobs", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="jobs", Targets=[{"Id": "queue", "Arn": arn}])
    return sqs, url


def received(sqs: Any, url: str) -> list[dict[str, Any]]:
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"]) for message in messages]


def test_the_end_of_a_job_reaches_a_queue(desk: Desk) -> None:
    sqs, url = subscribed(desk)
    desk.stage()
    job = desk.finished_job()

    events = received(sqs, url)

    assert [event["detail"]["jobStatus"] for event in events] == ["Completed"]
    assert events[0]["account"] == "123456789012"
    assert events[0]["resources"] == [job["jobArn"]]
    assert events[0]["detail"]["outputModelArn"] == job["outputModelArn"]
    assert events[0]["time"].endswith("Z")


def test_events_are_lost_doubled_or_late_on_demand(desk: Desk) -> None:
    sqs, url = subscribed(desk)
    desk.stage()
    desk.bedrock.create_model_customization_job(**desk.job())
    desk.advance(60)
    desk.change_scenario(drop_events=1)
    desk.advance(6 * 3600)
    assert received(sqs, url) == []

    request = desk.job(jobName="dogs", customModelName="dogs", clientRequestToken="dogs")
    desk.bedrock.create_model_customization_job(**request)
    desk.advance(60)
    desk.change_scenario(duplicate_events=1, delay_events_seconds=600)
    desk.advance(6 * 3600)
    assert received(sqs, url) == []
    desk.advance(601)
    assert len(received(sqs, url)) == 2
