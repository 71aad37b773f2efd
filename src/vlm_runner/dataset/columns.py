"""Which column holds what, and findings in one form, however a dataset writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from vlm_runner.column_path import ColumnPath, parse
from vlm_runner.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from vlm_runner.spec import Columns

USUAL = {
    "image": (
        "image",
        "screenshot",
        "img",
        "images",
        "picture",
        "image_path",
        "file_name",
        "png",
        "jpg",
        "jpeg",
        "webp",
    ),
    "html": ("html", "source", "code", "html_code", "source_code"),
    "output": ("output", "outputs", "findings", "finding", "result", "results"),
}


class Finding(TypedDict):
    """One accessibility finding; what a dataset does not say is ""."""

    rationale: str
    eval_items: str
    eval_reason: str
    plan: str


KEYS = ("rationale", "eval_items", "eval_reason", "plan")
_KEYS = frozenset(KEYS)


class Layout(NamedTuple):
    """Where a row has what; None: not there, and not needed."""

    image: ColumnPath
    html: ColumnPath | None
    output: ColumnPath | None


def choose(columns: Sequence[str], given: Columns, *, required: Collection[str], where: str) -> Layout:
    """
    The layout of a dataset with these `columns`: as `given`, else by the usual names.

    Raises:
        DataError: a needed column is not there; names those that are, and how to map them.
    """
    image = _column("image", given.image, columns, needed=True, where=where)
    assert image is not None  # noqa: S101 - needed
    html = _column("html", given.html, columns, needed="html" in required, where=where)
    output = _column("output", given.output, columns, needed="output" in required, where=where)
    return Layout(image, html, output)


def _column(
    role: str, given: str | None, columns: Sequence[str], *, needed: bool, where: str
) -> ColumnPath | None:
    if given is not None:
        if (path := parse(given, columns)) is not None:
            return path
        raise _missing(role, f"column '{given}' for {role}", columns, where)
    by_lower = {name.lower(): name for name in reversed(columns)}
    found = next((by_lower[name] for name in USUAL[role] if name in by_lower), None)
    if found is None and needed:
        raise _missing(role, f"{role} column", columns, where)
    return None if found is None else ColumnPath(found, found)


def _missing(role: str, what: str, columns: Sequence[str], where: str) -> DataError:
    return DataError(
        f"{where} has no {what}; its columns are {', '.join(columns)}.",
        hint=f'Say which one it is in the spec, under [dataset]: columns = {{ {role} = "…" }}.',
        field=role,
    )


def findings(value: object) -> list[Finding]:
    """
    `value` as findings: a list of them, a single one, JSON text of either, or plain text.

    Plain text becomes the reason of one finding; None, "" and [] are not findings.
    """
    read = output_value(value)
    return [finding for item in (read if isinstance(read, list) else [read]) for finding in _listed(item)]


def output_value(value: object) -> Any:
    """`value` as a list of findings where it holds findings; anything else as it is, None as []."""
    if value is None:
        return []
    if isinstance(value, str):
        found = _json(value)
        return value if found is None else [_finding(item) for item in found]
    if isinstance(value, Mapping):
        return [_finding(value)] if _is_finding(value) else value
    if isinstance(value, list | tuple) and all(_may_be_listed(item) for item in value):
        return [finding for item in value for finding in _listed(item)]
    return value


def _may_be_listed(item: object) -> bool:
    return item is None or isinstance(item, str) or (isinstance(item, Mapping) and _is_finding(item))


def _listed(item: object) -> list[Finding]:
    if isinstance(item, Mapping) and _is_finding(item):
        return [_finding(item)]
    found = _json(item) if isinstance(item, str) else None
    if found is not None:
        return [_finding(each) for each in found]
    text = _text(item, "\n")
    return [_finding({"eval_reason": text})] if text.strip() else []


def _json(text: str) -> list[dict[str, object]] | None:
    """The findings that a text holds as JSON; a plain answer such as "[1] see above" stays the text it is."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return None
    items = read if isinstance(read, list) else [read]
    return items if all(isinstance(item, dict) and _is_finding(item) for item in items) else None


def _is_finding(value: Mapping[Any, object]) -> bool:
    return not value or not _KEYS.isdisjoint(value)


def _finding(value: Mapping[str, object]) -> Finding:
    return Finding(
        rationale=_text(value.get("rationale"), "\n"),
        eval_items=_text(value.get("eval_items"), ", "),
        eval_reason=_text(value.get("eval_reason"), "\n"),
        plan=_text(value.get("plan"), "\n"),
    )


def _text(value: object, between: str) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return between.join(_text(item, between) for item in value)
    return json.dumps(value, ensure_ascii=False, default=str)
