"""Stores that speak S3's protocol, and do not keep its conditions, are found before a run rests on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from vlm_runner.checkpoint.probe import conformance_failure
from vlm_runner.checkpoint.s3 import S3Store
from vlm_runner.errors import AwsUnavailable, ConfigurationError
from vlm_runner.testing import FakeObjects, FakeS3, World

if TYPE_CHECKING:
    from vlm_runner.checkpoint.base import CheckpointStore

OWNER = "123456789012"


class Ignoring(FakeObjects):
    """Takes every write, whatever the condition; or only those of one kind."""

    blind_to = "both"

    async def put_if(self, key: str, body: bytes, *, replacing: str | None) -> str | None:
        kind = "If-None-Match" if replacing is None else "If-Match"
        if self.blind_to not in {kind, "both"}:
            return await super().put_if(key, body, replacing=replacing)
        await self.put(key, body, content_type="")
        found = await self.get(key)
        assert found is not None
        return found.etag


class LookingThenWriting(FakeObjects):
    """Atomic for one writer, and not for two at once."""

    async def put_if(self, key: str, body: bytes, *, replacing: str | None) -> str | None:
        there = await self.get(key)
        if (None if there is None else there.etag) != replacing:
            return None
        await anyio.sleep(0.01)
        await self.put(key, body, content_type="")
        found = await self.get(key)
        assert found is not None
        return found.etag


class Silent(FakeObjects):
    async def put_if(self, key: str, body: bytes, *, replacing: str | None) -> str | None:
        raise AwsUnavailable(f"503 for {key}, {len(body)} bytes over {replacing}.")


def objects(kind: type[FakeObjects]) -> FakeObjects:
    s3 = FakeS3()
    s3.make_bucket("bucket", OWNER)
    return kind(s3, "bucket", OWNER)


async def test_a_store_like_s3_is_taken() -> None:
    assert await conformance_failure(objects(FakeObjects), "probe") is None


@pytest.mark.parametrize(
    ("blind_to", "found"),
    [
        ("If-None-Match", "creates an object that exists"),
        ("If-Match", "replaces a version that is not there"),
    ],
)
async def test_a_store_that_ignores_a_condition_is_found(
    blind_to: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ignoring, "blind_to", blind_to)

    assert found in (await conformance_failure(objects(Ignoring), "probe") or "")


async def test_a_store_that_looks_and_then_writes_is_found() -> None:
    assert "4 of 4 writers" in (await conformance_failure(objects(LookingThenWriting), "probe") or "")


async def test_a_store_that_does_not_answer_is_not_slandered() -> None:
    assert await conformance_failure(objects(Silent), "probe") is None


async def test_the_probe_tidies_up() -> None:
    there = objects(FakeObjects)

    await S3Store(there, "some/prefix").prove()

    assert [item.key async for item in there.list("")] == []


@pytest.mark.parametrize("kind", [Ignoring, LookingThenWriting])
async def test_no_run_is_created_where_two_processes_could_drive_it(kind: type[FakeObjects]) -> None:
    there = objects(kind)
    world = World(store=S3Store(there, "vr"))

    with pytest.raises(ConfigurationError, match="cannot hold checkpoints"):
        await world.live()

    assert await S3Store(there, "vr").run_ids() == []
    assert world.bedrock.ledger == []


async def test_each_store_of_ours_passes_and_holds_no_run_afterwards(store: CheckpointStore) -> None:
    await store.prove()

    assert await store.run_ids() == []
