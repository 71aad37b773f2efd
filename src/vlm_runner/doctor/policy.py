"""
What identity policies allow, as far as they tell by themselves. Pure.

Used where IAM's own simulation is not to be had. It knows nothing of boundaries, service control policies
and bucket policies, so "allowed" means that nothing seen here forbids it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class PolicyVerdict(StrEnum):
    ALLOWED = "allowed"
    DENIED = "denied"
    CONDITIONAL = "conditional"
    """Allowed under a condition that is not judged here."""


def policy_verdict(policies: Iterable[Mapping[str, Any]], action: str, resource: str) -> PolicyVerdict:
    """A denial wins; a condition makes an allowance uncertain, and a denial too."""
    result = PolicyVerdict.DENIED
    for policy in policies:
        for statement in listed(policy.get("Statement")):
            if not _about(statement, action, resource):
                continue
            conditional = bool(statement.get("Condition"))
            if statement.get("Effect") == "Deny":
                if not conditional:
                    return PolicyVerdict.DENIED
            elif not conditional:
                result = PolicyVerdict.ALLOWED
            elif result is PolicyVerdict.DENIED:
                result = PolicyVerdict.CONDITIONAL
    return result


def _about(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    if "NotAction" in statement:
        acts = not any(_fits(one, action, ignore_case=True) for one in listed(statement["NotAction"]))
    else:
        acts = any(_fits(one, action, ignore_case=True) for one in listed(statement.get("Action")))
    if "NotResource" in statement:
        return acts and not any(_fits(one, resource) for one in listed(statement["NotResource"]))
    return acts and any(_fits(one, resource) for one in listed(statement.get("Resource")))


def _fits(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    wild = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch(wild, text, re.IGNORECASE if ignore_case else 0) is not None


def listed(value: Any) -> list[Any]:
    """IAM writes one thing without its list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def trusts(trust: Mapping[str, Any], service: str) -> list[Mapping[str, Any]]:
    """The statements by which `service` may assume the role."""
    return [
        statement
        for statement in listed(trust.get("Statement"))
        if statement.get("Effect") == "Allow"
        and any(_fits(one, "sts:AssumeRole", ignore_case=True) for one in listed(statement.get("Action")))
        and isinstance(statement.get("Principal"), dict)
        and service in listed(statement["Principal"].get("Service"))
    ]


def condition_values(statement: Mapping[str, Any], key: str) -> list[str]:
    """What a statement's conditions want of `key`, whatever the operator."""
    found: list[str] = []
    for wanted in (statement.get("Condition") or {}).values():
        for name, value in wanted.items():
            if name.lower() == key.lower():
                found += [str(one) for one in listed(value)]
    return found


def fits(pattern: str, text: str) -> bool:
    return _fits(pattern, text)
