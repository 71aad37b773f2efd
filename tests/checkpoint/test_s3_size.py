"""A stranger's checkpoint in S3 is refused before it fills the memory."""

from __future__ import annotations

import pytest

from vlm_runner.checkpoint import lease
from vlm_runner.checkpoint.integrity import MAX_BYTES
from vlm_runner.checkpoint.s3 import S3Store
from vlm_runner.errors import CheckpointError
from vlm_runner.testing import FakeObjects, FakeS3


async def test_no_more_is_read_than_a_checkpoint_can_be() -> None:
    s3 = FakeS3()
    s3.make_bucket("bucket", "123456789012")
    s3.put("bucket", "runs/cats/state.json", b" " * (MAX_BYTES * 3))
    store = S3Store(FakeObjects(s3, "bucket", "123456789012"), "")

    stored = await store.read("cats")

    assert stored is not None
    assert len(stored.body) == MAX_BYTES + 1
    with pytest.raises(CheckpointError, match="more than a checkpoint can be"):
        await lease.load(store, "cats")
