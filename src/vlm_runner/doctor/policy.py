"""
What a trust policy says. Pure.

Whether identity policies allow something is asked of IAM (SimulatePrincipalPolicy), never worked out here:
boundaries, service control policies and conditions decide as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def listed(value: Any) -> list[Any]:
    """IAM may write a list of one as the value itself."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def trusts(trust: Mapping[str, Any], service: str) -> list[Mapping[str, Any]]:
    """The statements that let `service` assume the role; none if one denies it without a condition."""
    about = [statement for statement in listed(trust.get("Statement")) if _about(statement, service)]
    if any(statement.get("Effect") == "Deny" and not statement.get("Condition") for statement in about):
        return []
    return [statement for statement in about if statement.get("Effect") == "Allow"]


def _about(statement: Mapping[str, Any], service: str) -> bool:
    principal = statement.get("Principal")
    # Actions are compared without case, ARNs with it (IAM user guide, policy grammar).
    acts = any(fits(action.lower(), "sts:assumerole") for action in listed(statement.get("Action")))
    return acts and isinstance(principal, dict) and service in listed(principal.get("Service"))


def condition_values(statement: Mapping[str, Any], key: str) -> list[str]:
    """The values that a statement's conditions name for `key`, whatever the operator."""
    found: list[str] = []
    for wanted in (statement.get("Condition") or {}).values():
        for name, value in wanted.items():
            if name.lower() == key.lower():
                found += [str(one) for one in listed(value)]
    return found


def context_of(statement: Mapping[str, Any]) -> dict[str, str]:
    """One value for each condition key of a statement, with which its conditions hold."""
    return {
        key: str(listed(value)[0]).replace("*", "x")
        for operator in (statement.get("Condition") or {}).values()
        for key, value in operator.items()
    }


def fits(pattern: str, text: str) -> bool:
    """Whether `text` matches IAM's wildcards: * for any characters, ? for one."""
    wild = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch(wild, text) is not None
