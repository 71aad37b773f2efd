"""The JSONL file: the markers' lines, one after the other, never all in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.core.names import records_key
from vlm_runner.errors import DataError
from vlm_runner.ingest import shards

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vlm_runner.aws.ports import Objects


async def write_records(
    objects: Objects, *, prefix: str, subset: str, fingerprint: str, rows: int
) -> tuple[str, int]:
    """
    Assemble `data/{subset}.jsonl`; return its URI and the number of its records.

    Raises:
        DataError: a shard has no marker (staging must run first), or no row at all could be used.
    """
    folder = shards.marker_prefix(prefix, subset, fingerprint)
    plan = shards.plan(rows)
    keys = [item.key async for item in objects.list(folder)]
    done = shards.read_markers(folder, keys, plan)
    missing = [shard.number for shard in plan if shard.number not in done]
    if missing:
        raise DataError(
            f"{subset}: {len(missing)} of {len(plan)} shards are not staged, the first is {missing[0]}."
        )
    records = sum(shards.records_in(key) for key in done.values())
    if records == 0:
        raise DataError(f"{subset}: none of its {rows} rows can be used.")
    key = records_key(prefix, subset)
    lines = _without_last_line_feed(_concatenated(objects, [done[shard.number] for shard in plan]))
    await objects.put_stream(key, lines, content_type="application/jsonl")
    return f"s3://{objects.bucket}/{key}", records


async def _concatenated(objects: Objects, keys: list[str]) -> AsyncIterator[bytes]:
    for key in keys:
        async for chunk in objects.read(key):
            yield chunk


async def _without_last_line_feed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Bedrock wants no empty line at the end (user guide, troubleshooting fine-tuning)."""
    held = b""
    async for chunk in chunks:
        whole = held + chunk
        held = b"\n" if whole.endswith(b"\n") else b""
        yield whole[: len(whole) - len(held)]
