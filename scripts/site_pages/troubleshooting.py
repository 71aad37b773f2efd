"""Troubleshooting by error message: every message that the source can raise, with its remedy."""

from __future__ import annotations

import ast
import html
import inspect
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_runner import errors
from vlm_runner.aws.errors import CREDENTIALS_HINT, KINDS, ROLE_HINT, ROLE_MARKS
from vlm_runner.cli.exit_codes import EXIT_CODES, exit_code

if TYPE_CHECKING:
    from collections.abc import Iterator

SRC = Path(__file__).parents[2] / "src" / "vlm_runner"
ELSEWHERE = ("sandbox", "testing")
"""Packages whose errors are AWS's wording, or a test's."""


@dataclass(frozen=True)
class Message:
    kind: str
    """The error's class."""
    text: str
    hint: str | None


def messages() -> list[Message]:
    """Each once, in the order of the source. What varies is in braces, by the name that it has there."""
    found: dict[Message, None] = {}
    for path in sorted(SRC.rglob("*.py")):
        if path.relative_to(SRC).parts[0] not in ELSEWHERE:
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and (kind := _kind(call)) is not None:
                    for text in _texts(call, kind):
                        hint = next((one.value for one in call.keywords if one.arg == "hint"), None)
                        found[Message(kind, text, _hint(hint))] = None
    return list(found)


def _kind(call: ast.Call) -> str | None:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    kind = getattr(errors, name, None)
    return name if isinstance(kind, type) and issubclass(kind, errors.VlmRunnerError) else None


def _texts(call: ast.Call, kind: str) -> Iterator[str]:
    """A message is a literal; one that is only passed on stands where it is made."""
    place = 3 if kind == "RowError" else 0
    if len(call.args) > place:
        text = _written(call.args[place])
        if text is not None and re.search(r"[a-z]{3}", re.sub(r"\{.*?\}", "", text)):
            yield f"{{subset}} row {{row}}, field '{{field}}': {text}." if kind == "RowError" else text


def _hint(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Name) and node.id == "CREDENTIALS_HINT":
        return CREDENTIALS_HINT
    return None if node is None else _written(node)


def _written(node: ast.expr) -> str | None:
    """A string literal as a reader of the message would write it down; None for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_part(part) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            both = [_written(left), _written(right)]
            return None if None in both else "".join(one for one in both if one)
        case ast.IfExp(body=body, orelse=other):
            return _written(body) or _written(other)
        case _:
            return None


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    if isinstance(part, ast.FormattedValue):
        names = [
            one.attr if isinstance(one, ast.Attribute) else one.id
            for one in ast.walk(part.value)
            if isinstance(one, ast.Attribute | ast.Name)
        ]
        word = re.sub(r"\W|^_+", "", names[0]) if names else "…"
        return f"{{{word or '…'}}}"
    return "…"


def page() -> str:
    """The page, in the order of the classes in `vlm_runner.errors`."""
    by_kind: dict[str, list[Message]] = defaultdict(list)
    for message in messages():
        by_kind[message.kind].append(message)
    lines = [
        "# Troubleshooting by error message",
        "",
        "Search this page (or the site) for words of the message that you see. What varies is in `{braces}`. A message",
        "ends with what to do, if there is one thing to do; after any failure,",
        "`vlm-runner status --last` says where the run is and what bills.",
        "",
        "What `lint` finds has codes: [every rule](before-you-pay.md#every-rule-of-lint). What AWS itself answers is",
        "[further down](#what-aws-answers).",
        "",
    ]
    for name, kind in vars(errors).items():
        if not (isinstance(kind, type) and issubclass(kind, errors.VlmRunnerError)) or name not in by_kind:
            continue
        code = exit_code(kind.__new__(kind))
        lines += [f"## `{name}`", "", f"{inspect.cleandoc(kind.__doc__ or '')}", ""]
        lines += [f"Exit code {code}: {EXIT_CODES[code]}.", "", "| message | what to do |", "|---|---|"]
        lines += [
            f"| {_cell(one.text)} | {_cell(one.hint or '')} |"
            for one in sorted(by_kind[name], key=lambda one: one.text.lower())
        ]
        lines.append("")
    return "\n".join([*lines, *_aws()]) + "\n"


def _aws() -> Iterator[str]:
    codes: dict[str, list[str]] = defaultdict(list)
    for code, kind in KINDS.items():
        codes[kind.__name__].append(f"`{code}`")
    yield "## What AWS answers"
    yield ""
    yield "Such a message reads `{operation}: {code}: {AWS's own words}`. What a code means for a run:"
    yield ""
    yield "| code | error here | exit code | |"
    yield "|---|---|---|---|"
    for name, listed in codes.items():
        kind = getattr(errors, name)
        hint = CREDENTIALS_HINT if name == "CredentialsError" else ""
        yield f"| {' '.join(listed)} | `{name}` | {exit_code(kind.__new__(kind))} | {_cell(hint)} |"
    marks = " ".join(f'"{mark}"' for mark in ROLE_MARKS)
    role = exit_code(errors.RoleNotAssumable.__new__(errors.RoleNotAssumable))
    yield f"| any, with {_cell(marks)} | `RoleNotAssumable` | {role} | {_cell(ROLE_HINT)} |"
    yield ""
    yield "How long each is retried before it ends a run is in [reliability](reliability.md#what-is-retried-where-and-for-how-long)."


def _cell(text: str) -> str:
    flat = " ".join(html.escape(text, quote=False).split())
    return re.sub(r"([|*_`\[\]])", r"\\\1", flat)
