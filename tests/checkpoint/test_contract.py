"""What every store of checkpoints promises; the same for memory, disk, S3 and moto's S3."""

from __future__ import annotations

import anyio
import pytest

from vlm_runner.checkpoint.base import CheckpointStore, Replaced


async def test_an_absent_run_is_none(store: CheckpointStore) -> None:
    assert await store.read("cats") is None
    assert await store.run_ids() == []


async def test_what_was_written_is_read(store: CheckpointStore) -> None:
    version = await store.write("cats", b"one", replacing=None)

    found = await store.read("cats")

    assert found is not None
    assert (found.body, found.version) == (b"one", version)


async def test_a_run_is_created_once(store: CheckpointStore) -> None:
    await store.write("cats", b"one", replacing=None)

    with pytest.raises(Replaced):
        await store.write("cats", b"two", replacing=None)

    found = await store.read("cats")
    assert found is not None
    assert found.body == b"one"


async def test_a_write_over_another_version_is_refused(store: CheckpointStore) -> None:
    first = await store.write("cats", b"one", replacing=None)
    second = await store.write("cats", b"two", replacing=first)

    with pytest.raises(Replaced):
        await store.write("cats", b"three", replacing=first)

    found = await store.read("cats")
    assert found is not None
    assert (found.body, found.version) == (b"two", second)


async def test_a_write_over_nothing_is_refused(store: CheckpointStore) -> None:
    """A deleted checkpoint is not brought back by a process that still holds it."""
    version = await store.write("cats", b"one", replacing=None)

    with pytest.raises(Replaced):
        await store.write("dogs", b"two", replacing=version)

    assert await store.read("dogs") is None


async def test_versions_differ(store: CheckpointStore) -> None:
    versions = [await store.write("cats", b"0", replacing=None)]
    for number in range(1, 6):
        versions.append(await store.write("cats", f"{number}".encode(), replacing=versions[-1]))

    assert len(set(versions)) == 6


async def test_of_many_that_replace_one_version_one_wins(store: CheckpointStore) -> None:
    base = await store.write("cats", b"base", replacing=None)
    won: list[int] = []

    async def contend(number: int) -> None:
        try:
            await store.write("cats", f"by {number}".encode(), replacing=base)
        except Replaced:
            return
        won.append(number)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(contend, number)

    found = await store.read("cats")
    assert found is not None
    assert [f"by {number}".encode() for number in won] == [found.body]


async def test_runs_are_listed_by_their_checkpoints(store: CheckpointStore) -> None:
    for run_id in ("dogs", "cats"):
        await store.write(run_id, b"x", replacing=None)
    await store.request_cancel("mice", "no checkpoint, no run")

    assert sorted(await store.run_ids()) == ["cats", "dogs"]


async def test_the_first_cancel_mark_stays(store: CheckpointStore) -> None:
    assert await store.cancel_reason("cats") is None

    await store.request_cancel("cats", "too dear")
    await store.request_cancel("cats", "another reason")

    assert await store.cancel_reason("cats") == "too dear"


async def test_a_cancel_mark_does_not_touch_the_checkpoint(store: CheckpointStore) -> None:
    version = await store.write("cats", b"one", replacing=None)
    await store.request_cancel("cats", "")

    assert await store.write("cats", b"two", replacing=version)


@pytest.mark.parametrize(
    "run_id", ["../cats", "a/b", "", ".", "..", "a..b", "/etc/passwd", "a\x00b", "-x", "a\\b"]
)
async def test_no_run_id_leaves_the_store(store: CheckpointStore, run_id: str) -> None:
    with pytest.raises(ValueError, match="may hold letters"):
        await store.read(run_id)


async def test_people_can_be_told_where_it_is(store: CheckpointStore) -> None:
    assert store.locate("cats").startswith(store.uri)
    assert "cats" in store.locate("cats")


async def test_a_deleted_run_is_gone_with_its_cancel_mark(store: CheckpointStore) -> None:
    await store.write("cats", b"one", replacing=None)
    await store.request_cancel("cats", "enough")

    await store.delete("cats")
    await store.delete("cats")

    assert await store.read("cats") is None
    assert await store.cancel_reason("cats") is None
    assert await store.run_ids() == []
    await store.write("cats", b"two", replacing=None)
