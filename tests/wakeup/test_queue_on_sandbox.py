"""EventBridge to SQS to a runner that waits, on the sandbox: real boto, real HTTP, real time."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.laptop import NOVA, ROLE, Laptop
from vlm_runner import Runner, RunSpec, Settings
from vlm_runner.core.signals import Signal, Trouble

if TYPE_CHECKING:
    from pathlib import Path

    from vlm_runner.core.events import Entry
    from vlm_runner.core.run import Run


def subscribe(laptop: Laptop) -> str:
    """A queue that gets what the rule of deploy/template.yaml lets through; its URL."""
    sqs, events = laptop.boto("sqs"), laptop.boto("events")
    url = str(sqs.create_queue(QueueName="jobs")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["aws.bedrock"], "detail-type": ["Model Customization Job State Change"]}
    events.put_rule(Name="jobs", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="jobs", Targets=[{"Id": "queue", "Arn": arn}])
    return url


def spec_for(pages: Path) -> RunSpec:
    return RunSpec.from_table(
        {
            "dataset": {"source": str(pages), "validation_split": "validation"},
            "model": {"base": NOVA},
            "training": {"role_arn": ROLE},
            "serving": {"mode": "none"},
            "aws": {"region": "us-east-1"},
        }
    )


class Listener:
    def __init__(self) -> None:
        self.troubles: list[str] = []

    def on_entry(self, run: Run, entry: Entry) -> None:
        pass

    def on_signal(self, run_id: str, signal: Signal) -> None:
        if isinstance(signal, Trouble):
            self.troubles.append(signal.message)


@pytest.fixture
def settings(slow_laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As a real run waits: the first look after a job is made comes after 5 s, later ones each minute."""
    for name, value in slow_laptop.environment.items():
        if name.startswith(("AWS_", "VLM_")) and "POLL" not in name:
            monkeypatch.setenv(name, value)
    slow_laptop.ask("scenario", {"job_seconds": 8, "model_creating_seconds": 0})
    return Settings.from_environment()


async def run_once(settings: Settings, pages: Path, **more: Any) -> tuple[Run, float, list[str]]:
    listener = Listener()
    async with Runner.open(settings, watchers=[listener]) as runner:
        handle = await runner.start(spec_for(pages), run_id="cats")
        began = time.monotonic()
        run = await handle.result()
    return run, time.monotonic() - began, listener.troubles


async def test_the_end_of_a_job_wakes_the_run(settings: Settings, slow_laptop: Laptop, pages: Path) -> None:
    """
    By the timer alone the job of 8 seconds would be found ended after 5 + 7.5.
    """
    url = subscribe(slow_laptop)

    run, _, troubles = await run_once(settings.model_copy(update={"queue_url": url}), pages)

    (job,) = slow_laptop.paid("customization_job")
    assert run.outcome == "succeeded"
    assert run.model is not None
    assert lag(slow_laptop, job) < 2
    assert troubles == []
    assert left_in(slow_laptop, url) == 0


async def test_lost_events_only_cost_time(settings: Settings, slow_laptop: Laptop, pages: Path) -> None:
    url = subscribe(slow_laptop)
    slow_laptop.ask("scenario", {"drop_events": 1000})

    run, _, troubles = await run_once(settings.model_copy(update={"queue_url": url}), pages)

    assert run.outcome == "succeeded"
    assert troubles == []


@pytest.mark.long
async def test_doubles_strangers_and_rubbish_do_no_harm(
    settings: Settings, slow_laptop: Laptop, pages: Path
) -> None:
    url = subscribe(slow_laptop)
    slow_laptop.ask("scenario", {"duplicate_events": 10})
    sqs = slow_laptop.boto("sqs")
    stranger = {"detail-type": "Model Customization Job State Change", "detail": {"jobArn": "arn:of:others"}}
    for body in ("rubbish", json.dumps(stranger)):
        sqs.send_message(QueueUrl=url, MessageBody=body)

    run, _, troubles = await run_once(settings.model_copy(update={"queue_url": url}), pages)

    (job,) = slow_laptop.paid("customization_job")
    assert run.outcome == "succeeded"
    assert lag(slow_laptop, job) < 2
    assert troubles == []
    assert left_in(slow_laptop, url) == 2


@pytest.mark.long
async def test_a_queue_that_is_missing_is_told_once_and_polled_around(
    settings: Settings, slow_laptop: Laptop, pages: Path
) -> None:
    url = f"{slow_laptop.url}/123456789012/no-such-queue"

    run, _, troubles = await run_once(settings.model_copy(update={"queue_url": url}), pages)

    assert run.outcome == "succeeded"
    assert len(troubles) == 1
    assert "by the timer instead" in troubles[0]


def lag(laptop: Laptop, job: dict[str, Any]) -> float:
    """Seconds from the job's end to the runner's first call of what comes next: GetCustomModel."""
    from datetime import datetime

    ended = datetime.fromisoformat(job["ended_at"])
    calls = laptop.ask("calls")["recent"]
    asked = next(call["time"] for call in calls if call["operation"] == "GetCustomModel")
    return (datetime.fromisoformat(asked) - ended).total_seconds()


def left_in(laptop: Laptop, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = laptop.boto("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)
