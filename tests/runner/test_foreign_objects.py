"""What others do to the run's objects in S3 is noticed before anything is bought; theirs stay theirs."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING

import pytest

from vlm_runner.core.places import ClosedPlace, KeyClaim, claim_key
from vlm_runner.core.run import Phase, known
from vlm_runner.errors import ConfigurationError, Conflict, ObjectChanged
from vlm_runner.testing import Crash, Fault, Plan, Process, World
from vlm_runner.testing import objects as fake

if TYPE_CHECKING:
    from collections.abc import Callable

Bucket = dict[str, bytes]


async def bucket_of(world: World) -> Bucket:
    return world.aws.s3.buckets[(await world.outcome()).run.bucket]


def image_of(bucket: Bucket) -> str:
    return next(key for key in bucket if key.startswith("images/train/"))


def replace_records(bucket: Bucket) -> str:
    """By records that this run could have written: nothing but the comparison tells."""
    lines = bucket["data/train.jsonl"].split(b"\n")
    bucket["data/train.jsonl"] = b"\n".join([lines[-1], *lines[1:-1], lines[0]])
    return "data/train.jsonl was replaced"


def replace_image(bucket: Bucket) -> str:
    """By one of the same size."""
    key = image_of(bucket)
    bucket[key] = bucket[key][:-1] + b"?"
    return "Images of rows 0 to 7"


def delete_image(bucket: Bucket) -> str:
    del bucket[image_of(bucket)]
    return "Images of rows 0 to 7"


CHANGES = [replace_records, replace_image, delete_image]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("after", [Phase.RECORDING, Phase.TRAINING, Phase.WARMING])
async def test_what_others_changed_is_named_and_nothing_is_bought_by_it(
    after: Phase, change: Callable[[Bucket], str]
) -> None:
    world = World()
    await world.live(until=after)
    bucket = await bucket_of(world)
    kept = dict(bucket)
    said = change(bucket)
    bought = (world.bedrock.jobs_created, world.bedrock.endpoints_created)

    if after is Phase.WARMING:
        run = await world.live()
        assert run.failure is not None
        assert run.failure.error == "ObjectChanged"
        assert said in run.failure.reason
        assert run.tests is None
    else:
        with pytest.raises(ObjectChanged, match=said):
            await world.live()
        assert not (await world.outcome()).run.may_bill
        assert (world.bedrock.jobs_created, world.bedrock.endpoints_created) == bought
        bucket.update(kept)
        assert (await world.live()).outcome == "succeeded"
    assert await world.violations() == []


async def test_where_equal_bytes_have_unequal_etags_another_run_of_them_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As under a KMS key: there sizes are compared."""
    count = itertools.count()
    etags: dict[int, str] = {}

    def etag_of(body: bytes) -> str:
        # By the object, not by its bytes: each put has an ETag of its own.
        return etags.setdefault(id(body), f'"{hashlib.sha256(str(next(count)).encode()).hexdigest()[:32]}"')

    monkeypatch.setattr(fake, "etag_of", etag_of)
    world = World()
    await world.live(until=Phase.RECORDING)
    bucket = await bucket_of(world)
    for key in list(bucket):
        if key.startswith("images/") or key.endswith("train.jsonl"):
            bucket[key] = bytes(bytearray(bucket[key]))

    assert known((await world.outcome()).run.records).train_objects.by == "size"  # type: ignore[union-attr]
    bucket[image_of(bucket)] += b"?"
    with pytest.raises(ObjectChanged, match="Images of rows"):
        await world.live()
    bucket[image_of(bucket)] = bucket[image_of(bucket)][:-1]
    assert (await world.live()).outcome == "succeeded"


async def test_an_image_deleted_under_its_marker_is_uploaded_again_as_the_error_says() -> None:
    world = World()
    await world.live(until=Phase.STAGING)
    bucket = await bucket_of(world)
    key = image_of(bucket)
    body = bucket.pop(key)

    with pytest.raises(ObjectChanged, match=r"rows 0 to 7 are missing.* stage RUN --verify"):
        await world.live()
    verify = world.settings.upload.model_copy(update={"verify": True})
    world.settings = world.settings.model_copy(update={"upload": verify})
    async with world.runner() as runner:
        await runner.stage(world.run_id, number=0, parts=1)

    assert bucket[key] == body
    assert (await world.live()).outcome == "succeeded"


@pytest.mark.parametrize("key", ["data/train.jsonl", "images/train/000.png", "data/train/notes.txt"])
@pytest.mark.parametrize("prefix", ["", "mine/"])
async def test_what_nobody_claimed_is_never_overwritten(prefix: str, key: str) -> None:
    world = World(storage={"prefix": prefix} if prefix else {})
    async with world.runner() as runner:
        prepared = await runner.prepare(world.spec, run_id=world.run_id)
    assert prepared is not None
    world.aws.s3.make_bucket(prepared.bucket, prepared.account)
    bucket = world.aws.s3.buckets[prepared.bucket]
    bucket[prefix + key] = b"of a notebook"

    if prefix:
        with pytest.raises(ConfigurationError, match="no run wrote"):
            await world.live()
        assert list(bucket) == [prefix + key]
        return
    run = await world.live()

    assert bucket[key] == b"of a notebook"
    assert run.outcome == "succeeded"
    place = known(run.places).train
    assert place.images.startswith("images/content-")
    assert claim_key(place) in bucket


@pytest.mark.parametrize("fate", ["deleted", "closed", "other"])
async def test_a_claim_is_looked_at_again_before_the_first_upload(fate: str) -> None:
    """A deletion from another store does not know this run, and comes between its claim and its uploads."""
    world = World()
    first = Plan(choose=lambda call: Fault.CRASH_BEFORE if call == "objects.put_once" else None)
    with pytest.raises(Crash):
        await world.live(Process(first))
    bucket = await bucket_of(world)
    key = claim_key(known((await world.outcome()).run.places).train)
    claim = KeyClaim.parse(bucket[key])
    if fate == "deleted":
        del bucket[key]
    else:
        other = claim.model_copy(update={"fingerprint": "f" * 64, "holds": ()})
        changed = ClosedPlace(deleting="theirs", claim=claim) if fate == "closed" else other
        bucket[key] = changed.model_dump_json().encode()

    if fate == "deleted":
        assert (await world.live()).outcome == "succeeded"
        assert KeyClaim.parse(bucket[key]) == claim
        return
    with pytest.raises(Conflict if fate == "closed" else ObjectChanged):
        await world.live()
    assert [name for name in bucket if name.startswith("images/")] == []
    del bucket[key]
    assert (await world.live()).outcome == "succeeded"
