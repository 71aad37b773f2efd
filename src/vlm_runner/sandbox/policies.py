"""
How IAM decides by policies: pure, from documents and one question to allowed or denied.

IAM user guide, "Policy evaluation logic" and "IAM JSON policy elements: Condition operators". An operator
that is not known here is an error, never a yes or a no.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

Document = Mapping[str, Any]
Decision = Literal["allowed", "implicitDeny", "explicitDeny"]
"""As SimulatePrincipalPolicy names them."""


@dataclass(frozen=True)
class Question:
    """May this be done? `resource` None: the action alone is judged."""

    action: str
    resource: str | None = None
    context: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values by condition key."""


def decide(documents: Sequence[Document], question: Question) -> Decision:
    """A denial by any statement, else an allowance by any, else a denial."""
    effects = {
        statement["Effect"]
        for document in documents
        for statement in statements_of(document)
        if _applies(statement, question)
    }
    if "Deny" in effects:
        return "explicitDeny"
    return "allowed" if "Allow" in effects else "implicitDeny"


def may_assume(trust: Document | None, service: str, context: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a role's trust policy lets the AWS service of this name assume it."""
    named = [
        statement
        for statement in statements_of(trust or {})
        if isinstance(statement.get("Principal"), Mapping)
        and service in listed(statement["Principal"].get("Service"))
    ]
    return decide([{"Statement": named}], Question("sts:AssumeRole", None, context)) == "allowed"


def statements_of(document: Document) -> list[Mapping[str, Any]]:
    # moto leaves AWS::NoValue behind as None, where CloudFormation leaves nothing.
    return [one for one in listed(document.get("Statement")) if one is not None]


def listed(value: Any) -> list[Any]:
    """IAM may write a list of one as the value itself."""
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _condition_holds(condition: Mapping[str, Any] | None, known: Mapping[str, tuple[str, ...]]) -> bool:
    """All operators and all keys hold. `known` has its keys in lower case."""
    return all(
        _holds(operator, known.get(key.lower(), ()), [str(one) for one in listed(wanted)])
        for operator, keys in (condition or {}).items()
        for key, wanted in keys.items()
    )


def _applies(statement: Mapping[str, Any], question: Question) -> bool:
    if not _named(statement, "Action", question.action, without_case=True):
        return False
    known = {key.lower(): values for key, values in question.context.items()}
    if question.resource is not None and not _named(statement, "Resource", question.resource, known):
        return False
    return _condition_holds(statement.get("Condition"), known)


def _named(
    statement: Mapping[str, Any],
    element: str,
    value: str,
    known: Mapping[str, tuple[str, ...]] | None = None,
    *,
    without_case: bool = False,
) -> bool:
    negated = f"Not{element}" in statement
    patterns = listed(statement[f"Not{element}"] if negated else statement.get(element))
    filled = (_filled(pattern, known or {}) for pattern in patterns)
    return any(one is not None and _fits(one, value, without_case) for one in filled) != negated


def _filled(pattern: str, known: Mapping[str, tuple[str, ...]]) -> str | None:
    """With its policy variables replaced; None if one has no value, and the element then fits nothing."""
    if "${" not in pattern:
        return pattern
    names = _VARIABLE.findall(pattern)
    if any(len(known.get(name.lower(), ())) != 1 for name in names):
        return None
    return _VARIABLE.sub(lambda found: known[found[1].lower()][0], pattern)


def _fits(pattern: str, value: str, without_case: bool = False) -> bool:  # noqa: FBT001, FBT002
    return _wildcards(pattern, without_case).fullmatch(value) is not None


@cache
def _wildcards(pattern: str, without_case: bool) -> re.Pattern[str]:  # noqa: FBT001
    """IAM's: * for any characters, ? for one."""
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if without_case else 0))


_VARIABLE = re.compile(r"\$\{([\w:/-]+)\}")

_SAME: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringEqualsIgnoreCase": lambda wanted, given: wanted.lower() == given.lower(),
    "StringLike": _fits,
    "ArnEquals": _fits,  # both ARN operators take wildcards, and do the same
    "ArnLike": _fits,
    "Bool": lambda wanted, given: wanted.lower() == given.lower(),
    "NumericEquals": lambda wanted, given: float(wanted) == float(given),
}


def _holds(operator: str, given: tuple[str, ...], wanted: list[str]) -> bool:
    if operator == "Null":
        return (not given) == (wanted[0].lower() == "true")
    prefix, _, name = operator.rpartition(":")
    name, if_exists = name.removesuffix("IfExists"), name.endswith("IfExists")
    positive = name.replace("Not", "", 1)
    if positive not in _SAME or prefix not in {"", "ForAllValues", "ForAnyValue"}:
        raise NotImplementedError(f"the condition operator {operator}")
    negated, same = positive != name, _SAME[positive]
    if not given:
        # A negated operator, IfExists and ForAllValues hold without the key.
        return (negated and prefix != "ForAnyValue") or if_exists or prefix == "ForAllValues"
    each: Iterator[bool] = (any(same(one, value) for one in wanted) != negated for value in given)
    return any(each) if prefix == "ForAnyValue" else all(each)
