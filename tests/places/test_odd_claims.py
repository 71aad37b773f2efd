"""What lies in place of a claim, and is none, is somebody's: its keys are left alone."""

from __future__ import annotations

import pytest

from vlm_runner.core.run import Run, known
from vlm_runner.testing import World, run_virtual

from .test_older_versions import BUCKET


@pytest.mark.parametrize("body", [b"[]", b"null", b'"a"', b"{}", b"{", b"\xff", b"[" * 100_000])
def test_a_claim_that_is_not_one_is_not_overwritten_and_not_a_traceback(body: bytes) -> None:
    async def story() -> tuple[World, Run]:
        world = World()
        world.aws.s3.make_bucket(BUCKET, "123456789012")
        world.aws.s3.put(BUCKET, "data/train/content.json", body)
        return world, await world.live()

    world, run = run_virtual(story)

    assert run.outcome == "succeeded"
    assert world.aws.s3.buckets[BUCKET]["data/train/content.json"] == body
    assert known(run.records).train_uri != f"s3://{BUCKET}/data/train.jsonl"
