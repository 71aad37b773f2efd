"""Tags of jobs, models, throughputs and deployments."""

from collections.abc import Mapping
from typing import Any

from vlm_runner.sandbox.errors import not_found
from vlm_runner.sandbox.resources import Region
from vlm_runner.sandbox.state import SandboxState, check_tag_count, tags_of

P = Mapping[str, Any]


def _tags(region: Region, p: P) -> dict[str, str]:
    if p["resourceARN"] not in region.tags:
        raise not_found()
    return region.tags[p["resourceARN"]]


def tag_resource(state: SandboxState, region: Region, p: P) -> dict[str, Any]:  # noqa: ARG001 -- one signature for all
    tags = _tags(region, p) | tags_of(p, "tags")
    check_tag_count(tags)
    region.tags[p["resourceARN"]] = tags
    return {}


def untag_resource(state: SandboxState, region: Region, p: P) -> dict[str, Any]:  # noqa: ARG001
    tags = _tags(region, p)
    region.tags[p["resourceARN"]] = {key: value for key, value in tags.items() if key not in p["tagKeys"]}
    return {}


def list_tags(state: SandboxState, region: Region, p: P) -> dict[str, Any]:  # noqa: ARG001
    return {"tags": [{"key": key, "value": value} for key, value in _tags(region, p).items()]}
