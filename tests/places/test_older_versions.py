"""Buckets and runs of versions that claimed keys for a dataset and its prompt together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vlm_runner.checkpoint.document import from_bytes, to_bytes
from vlm_runner.core.events import Entry
from vlm_runner.core.phases import Phase
from vlm_runner.core.places import objects_of
from vlm_runner.core.run import Run, known
from vlm_runner.core.transitions import fold
from vlm_runner.testing import World, run_virtual
from vlm_runner.testing.world import ACCOUNT

BUCKET = f"vlm-accessibility-{ACCOUNT}-us-east-1"
OTHER = {"user": "What is wrong with {{ page }}?", "assistant": "{{ output }}"}


def images(world: World) -> dict[str, int]:
    return {key: count for key, count in world.aws.s3.writes.items() if key.startswith("images/")}


async def as_an_older_version_left_it(world: World, until: Phase) -> None:
    """A run without `places_claimed`, and a bucket without anything that older versions did not write."""
    await world.live(until=until)
    bucket = world.aws.s3.buckets[BUCKET]
    claim = json.loads(bucket["data/train/content.json"])
    bucket["data/train/content.json"] = json.dumps(
        {"fingerprint": claim["fingerprint"], "run_id": claim["run_id"]}
    ).encode()
    for key in [key for key in bucket if key.startswith("data/train/images/")]:
        del bucket[key]
    stored = await world.store.read(world.run_id)
    assert stored is not None
    checkpoint = from_bytes(stored.body, where="the store")
    kept = [entry for entry in checkpoint.history if entry.event.kind != "places_claimed"]
    history = tuple(
        Entry(sequence=number, at=entry.at, event=entry.event) for number, entry in enumerate(kept, 1)
    )
    older = checkpoint.model_copy(update={"history": history, "run": fold(history)})
    await world.store.write(world.run_id, to_bytes(older), replacing=stored.version)
    world.saved.clear()
    world.told.clear()
    world.aws.s3.writes.clear()


@pytest.mark.parametrize("until", [Phase.STAGING, Phase.RECORDING, Phase.TRAINING])
def test_a_run_of_an_older_version_goes_on_with_what_it_uploaded(until: Phase) -> None:
    async def story() -> tuple[World, Run]:
        world = World()
        await as_an_older_version_left_it(world, until)
        return world, await world.live()

    world, run = run_virtual(story)

    assert run.outcome == "succeeded"
    assert run.places is None
    assert known(run.records).train_uri == f"s3://{BUCKET}/data/train.jsonl"
    assert images(world) == {}
    uses = objects_of(run)
    assert [place.images for place in uses.places] == ["images/train/"]
    assert uses.settled


def test_a_bucket_of_an_older_version_keeps_what_it_holds() -> None:
    """The same content finds itself; another prompt does not know whose images these are, and moves."""

    async def story() -> tuple[list[Run], list[dict[str, int]]]:
        world = World()
        await as_an_older_version_left_it(world, Phase.TRAINING)
        runs, uploads = [], []
        for name, sections in (("again", {}), ("another", {"prompt": OTHER})):
            world.run_id, changes = name, dict[str, Any](sections)
            world.spec = World(**changes).spec
            world.aws.s3.writes.clear()
            runs.append(await world.live(until=Phase.RECORDING))
            uploads.append(images(world))
        return runs, uploads

    (again, another), (none, all_again) = run_virtual(story)

    assert known(again.places).train.images == "images/train/"
    assert none == {}
    assert known(another.places).train.images.startswith("images/content-")
    assert all(key.startswith("images/content-") for key in all_again)
