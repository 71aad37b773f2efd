"""Tags that are put on what exists already, and seen to be there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.errors import AwsUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vlm_runner.aws.ports import Aws


async def put_tags(aws: Aws, arn: str, tags: Mapping[str, str]) -> None:
    """
    Tag a resource, and read its tags back: AWS answers TagResource with an empty object, which a portal or
    a proxy can give as well.

    Raises:
        AwsRefused: it may not be tagged, or its tags may not be read.
        AwsUnavailable: it may be tagged or not; to tag it again does no harm.
    """
    await aws.bedrock.tag(arn, tags)
    there = await aws.bedrock.tags(arn)
    if missing := [key for key, value in tags.items() if there.get(key) != value]:
        raise AwsUnavailable(f"TagResource was answered, but {arn} does not show {', '.join(missing)}.")
