"""
The constraints of botocore's shapes, and the messages with which AWS reports violations.

botocore checks types, required members and minimums before it sends; patterns, maximums and enums
are only checked by the service, so they are what a sandbox must check.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Shape = Any
"""A shape of botocore's model. Its stubs lack the members that differ from kind to kind."""


def violations(shape: Shape, value: Any, path: str = "") -> list[str]:
    """One message per violated constraint, in the format of AWS's request validation."""
    return list(_violations(shape, value, path))


def _violations(shape: Shape, value: Any, path: str) -> Iterator[str]:
    match shape.type_name:
        case "structure":
            if not shape.is_document_type:
                yield from _structure(shape, value, path)
        case "list":
            yield from _length(shape, len(value), "", path)
            for index, item in enumerate(value):
                yield from _violations(shape.member, item, f"{path}.{index + 1}.member")
        case "map":
            yield from _length(shape, len(value), "", path)
            for key, item in value.items():
                yield from _violations(shape.key, key, f"{path}.key")
                yield from _violations(shape.value, item, f"{path}.{key}.member")
        case "string":
            yield from _string(shape, value, path)
        case "blob":
            yield from _length(shape, len(value), "", path)
        case "integer" | "long" | "float" | "double":
            yield from _number(shape, value, path)
        case _:
            pass


def _structure(shape: Shape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    for name in shape.required_members:
        if name not in value:
            yield _sentence("null", f"{prefix}{name}", "Member must not be null")
    if shape.is_tagged_union and len(value) != 1:
        yield _sentence("", path, "Member must have exactly one of its members set")
    for name, member in shape.members.items():
        if name in value:
            yield from _violations(member, value[name], f"{prefix}{name}")


def _string(shape: Shape, value: str, path: str) -> Iterator[str]:
    if too_long := list(_length(shape, len(value), f"'{value}' ", path)):
        yield from too_long
        return
    pattern = shape.metadata.get("pattern")
    if pattern and not re.fullmatch(_safe(pattern), value):
        rule = f"Member must satisfy regular expression pattern: {pattern}"
        yield _sentence(f"'{value}'", path, rule)
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        yield _sentence(f"'{value}'", path, f"Member must satisfy enum value set: [{', '.join(allowed)}]")


def _safe(pattern: str) -> str:
    # The published pattern of JobName takes exponential time on a long run of hyphens.
    # This pattern matches the same strings.
    return pattern.replace(r"(-*[a-zA-Z0-9\+\-\.])*", r"[a-zA-Z0-9+.\-]*")


def _length(shape: Shape, length: int, shown: str, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and length < low:
        yield _sentence(shown.strip(), path, f"Member must have length greater than or equal to {low}")
    if high is not None and length > high:
        yield _sentence(shown.strip(), path, f"Member must have length less than or equal to {high}")


def _number(shape: Shape, value: float, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and value < low:
        yield _sentence(f"'{value}'", path, f"Member must have value greater than or equal to {low}")
    if high is not None and value > high:
        yield _sentence(f"'{value}'", path, f"Member must have value less than or equal to {high}")


def _sentence(shown: str, path: str, rule: str) -> str:
    value = f"Value {shown} at" if shown else "Value at"
    return f"{value} '{path}' failed to satisfy constraint: {rule}"
