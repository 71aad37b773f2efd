"""The state of one simulated AWS account, and Bedrock's access to other services."""

import random
import string
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from vlm_runner.sandbox.clock import SimulatedClock
from vlm_runner.sandbox.errors import AwsError
from vlm_runner.sandbox.events import EventPublisher
from vlm_runner.sandbox.guard import Guard
from vlm_runner.sandbox.ledger import Ledger
from vlm_runner.sandbox.objects import MotoObjects, Objects
from vlm_runner.sandbox.prices import PriceList
from vlm_runner.sandbox.resources import Job, Region
from vlm_runner.sandbox.roles import MotoRoles, Roles
from vlm_runner.sandbox.scenario import Scenario

_TAGS_PER_RESOURCE = 50  # Bedrock API reference, TooManyTagsException


class SandboxState:
    """All reads and changes hold `lock`."""

    def __init__(
        self,
        account: str,
        clock: SimulatedClock,
        seed: int,
        prices: PriceList,
        *,
        roles: tuple[str, ...] = (),
        model_units: int = 0,
    ) -> None:
        self._model_units = model_units
        self.account = account
        self.prices = prices
        self.clock = clock
        self.lock = threading.RLock()
        self.objects: Objects = MotoObjects(account)
        self.roles: Roles = MotoRoles(account, roles)
        self.guard = Guard()
        self.event_publisher = EventPublisher(account)
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        with self.lock:
            self.random = random.Random(self._seed)  # noqa: S311 -- reproducible, not secret
            self.scenario = Scenario(no_commitment_units=self._model_units)
            self.regions: dict[str, Region] = {}
            self.checks: list[threading.Thread] = []
            self.ledger = Ledger(self.prices)
            self.event_publisher.reset()
            self.roles.reset()
            self.guard.reset()
            self.leads: dict[tuple[str, str, str], timedelta] = {}
            """How far this clock was ahead of its client's, by a schedule's Region, group and name."""

    def region(self, name: str) -> Region:
        return self.regions.setdefault(name, Region(name))

    def jobs(self) -> Iterator[tuple[Region, Job]]:
        for region in self.regions.values():
            for job in region.jobs.values():
                yield region, job

    def arn(self, region: str, kind: str) -> str:
        """A new ARN; Bedrock's end in twelve of [a-z0-9]."""
        tail = "".join(self.random.choices(string.ascii_lowercase + string.digits, k=12))
        return f"arn:aws:bedrock:{region}:{self.account}:{kind}/{tail}"

    def change_scenario(self, changes: Mapping[str, Any]) -> Scenario:
        with self.lock:
            self.scenario = Scenario.model_validate(self.scenario.model_dump() | dict(changes))
            return self.scenario

    def use_once(self, setting: str) -> str | None:
        """The value of a setting that applies once; it is then cleared."""
        value: str | None = getattr(self.scenario, setting)
        self.scenario = self.scenario.model_copy(update={setting: None})
        return value

    def use_flag_once(self, setting: str) -> bool:
        value = bool(getattr(self.scenario, setting))
        self.scenario = self.scenario.model_copy(update={setting: False})
        return value

    def finish_checks(self, timeout: float) -> None:
        """Wait, in real time, for running data checks: after the clock jumped, their results are due."""
        for thread in list(self.checks):
            thread.join(timeout)
        self.checks = [thread for thread in self.checks if thread.is_alive()]

    def now(self) -> datetime:
        return self.clock.now()


def tags_of(parameters: Mapping[str, Any], member: str) -> dict[str, str]:
    tags = {tag["key"]: tag["value"] for tag in parameters.get(member, [])}
    check_tag_count(tags)
    return tags


def check_tag_count(tags: Mapping[str, str]) -> None:
    if len(tags) > _TAGS_PER_RESOURCE:
        raise AwsError("TooManyTagsException", f"A resource may have at most {_TAGS_PER_RESOURCE} tags.")
