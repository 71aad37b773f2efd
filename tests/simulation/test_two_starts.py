"""Two runs that start at one moment in one bucket: neither writes what the other's job reads."""

from __future__ import annotations

import asyncio
import json
import random
from collections import ChainMap, Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from vlm_runner.core.phases import Phase
from vlm_runner.core.places import objects_of
from vlm_runner.core.run import Run, known
from vlm_runner.errors import VlmRunnerError
from vlm_runner.testing import Crash, FakeClock, Fault, Plan, Process, TinyDataset, World, run_virtual
from vlm_runner.testing.dataset import tiny_png
from vlm_runner.testing.faults import FREEZES
from vlm_runner.testing.world import ACCOUNT

from .simulate import USUAL, seeded_uuids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCHEDULES = 24
"""In the suite. For 200 of each kind: `pytest tests/simulation/test_two_starts.py --seeds 800`."""
DISTURBED_FOR = 300.0

FIRST = TinyDataset()
OTHER_PROMPT = {"user": "What is wrong with {{ page }}?", "assistant": "{{ output }}"}
PAIRS: dict[str, tuple[TinyDataset, dict[str, str]]] = {
    "another prompt": (TinyDataset(), OTHER_PROMPT),
    "another dataset": (TinyDataset(fingerprint="other", shade=100), {}),
    "more rows": (TinyDataset(rows=12, fingerprint="more"), {}),
    "the same": (TinyDataset(), {}),
}


@dataclass
class Starts:
    """What two runs put into S3, and what their jobs were given."""

    first: World = field(default_factory=World)
    jsonl: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """By key, as it was when a job was created from it."""

    def world(self, dataset: TinyDataset, prompt: dict[str, str], name: str) -> World:
        """Another run in the same account."""
        sections: dict[str, Any] = {"prompt": prompt} if prompt else {}
        made = World(**sections)
        made.aws, made.bedrock, made.store = self.first.aws, self.first.bedrock, self.first.store
        made.dataset, made.run_id = dataset, name
        return made

    def watch(self) -> None:
        create = self.first.bedrock.create_job

        async def create_job(request: Mapping[str, Any]) -> str:
            key = key_of(request["trainingDataConfig"]["s3Uri"])
            self.jsonl.setdefault(key, self.bucket[key])
            return await create(request)

        self.first.bedrock.create_job = create_job  # type: ignore[method-assign]

    @property
    def bucket(self) -> dict[str, bytes]:
        return self.first.aws.s3.buckets[f"vlm-accessibility-{ACCOUNT}-us-east-1"]


def key_of(uri: str) -> str:
    return uri.removeprefix("s3://").partition("/")[2]


async def begin(world: World, chance: random.Random, until: float) -> Run:
    """One process after another, each disturbed, until the job is created."""
    while True:
        process = Process(clock=FakeClock(seed=chance.getrandbits(32)))
        process.plan = Plan(choose=chooser(process, chance, until))
        try:
            return await world.live(process, until=Phase.SUBMITTING)
        except (Crash, VlmRunnerError):
            await asyncio.sleep(chance.uniform(0, 60))


def chooser(process: Process, chance: random.Random, until: float) -> Callable[[str], Fault | None]:
    def choose(_: str) -> Fault | None:
        if anyio.current_time() > until or chance.random() > 0.06:
            return None
        fault = chance.choice(USUAL)
        if fault in FREEZES:
            asyncio.get_running_loop().call_later(chance.choice([0.1, 5, 400]), process.thaw)
        return fault

    return choose


async def both_started(kind: str, chance: random.Random) -> tuple[Starts, list[Run]]:
    starts = Starts()
    starts.watch()
    dataset, prompt = PAIRS[kind]
    worlds = [starts.world(FIRST, {}, "cats"), starts.world(dataset, prompt, "dogs")]
    chance.shuffle(worlds)
    until = anyio.current_time() + DISTURBED_FOR
    runs: dict[str, Run] = {}
    async with anyio.create_task_group() as group:

        async def one(world: World) -> None:
            await asyncio.sleep(chance.choice([0, 0, 0.05, 3]))
            runs[world.run_id] = await begin(world, chance, until)

        for world in worlds:
            group.start_soon(one, world)
    await asyncio.sleep(1000)  # for whatever a frozen process still writes
    return starts, [runs["cats"], runs["dogs"]]


def wrong(starts: Starts, runs: list[Run], kind: str) -> list[str]:
    found = []
    for run, dataset in zip(runs, (FIRST, PAIRS[kind][0]), strict=True):
        key = key_of(known(run.records).train_uri)
        if starts.bucket[key] != starts.jsonl[key]:
            found.append(f"{run.run_id}: {key} is not as it was when its job was created")
        lines = starts.bucket[key].decode().split("\n")
        if len(lines) != dataset.rows:
            found.append(f"{run.run_id}: {len(lines)} records")
        for index, line in enumerate(lines):
            said = dict(ChainMap(*json.loads(line)["messages"][0]["content"]))
            body = starts.bucket[key_of(said["image"]["source"]["s3Location"]["uri"])]
            if body != tiny_png(dataset.shade + index):
                found.append(f"{run.run_id}: row {index} shows another image")
            if ("Judge" in said["text"]) == (run.run_id == "dogs" and kind == "another prompt"):
                found.append(f"{run.run_id}: row {index} has another prompt")
        claimed = known(run.places).train
        if not objects_of(run).shares_images(claimed) or claimed.records != key:
            found.append(f"{run.run_id}: its state does not say what it uses")
    return found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", PAIRS)
def test_two_starts_at_one_moment_never_write_into_each_others_keys(
    request: pytest.FixtureRequest, kind: str
) -> None:
    seeds = (request.config.getoption("--seeds", None) or SCHEDULES) // len(PAIRS)
    places: Counter[str] = Counter()
    broken = []
    for seed in range(seeds):
        with seeded_uuids(seed):
            chance = random.Random(f"{kind} {seed}")
            starts, runs = run_virtual(partial(both_started, kind, chance))
        places.update(known(run.places).train.images.partition("-")[0] for run in runs)
        if violations := wrong(starts, runs, kind):
            broken.append((seed, violations))
    print(kind, dict(places))

    assert broken == []
    assert places["images/train/"] >= seeds  # the first content has the notebook's keys
