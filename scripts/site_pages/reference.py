"""Reference: the spec, settings, commands, events and exit codes, read off the code."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from pydantic import BaseModel

from vlm_runner import errors
from vlm_runner.cli import cli
from vlm_runner.cli.commands import SECTIONS
from vlm_runner.cli.exit_codes import EXIT_CODES, exit_code
from vlm_runner.core.events import Entry, Event
from vlm_runner.core.phases import TRANSITIONS, Phase
from vlm_runner.core.signals import Signal
from vlm_runner.models import load_catalogue
from vlm_runner.settings import Settings
from vlm_runner.spec import RunSpec

from .diagram import LEFT_OUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from vlm_runner.models.profile import ModelProfile

# --- models of pydantic, whose fields are documented by the string under them ---


@dataclass(frozen=True)
class _Source:
    """What only the source of a class says: the string under each field, and its type as it is written."""

    docs: dict[str, str]
    annotations: dict[str, str]


@cache
def _classes(module: str) -> dict[str, _Source]:
    tree = ast.parse(Path(sys.modules[module].__file__ or "").read_text("utf-8"))
    return {node.name: _source(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _source(node: ast.ClassDef) -> _Source:
    docs, annotations = {}, {}
    for field, after in pairwise([*node.body, ast.Pass()]):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            annotations[field.target.id] = ast.unparse(field.annotation)
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                docs[field.target.id] = inspect.cleandoc(str(after.value.value))
    return _Source(docs, annotations)


def docstring(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "")


def _sources(kind: type[BaseModel]) -> list[_Source]:
    """Of a class and of those of ours that it derives from, which come first."""
    ours = [one for one in reversed(kind.__mro__) if one.__module__.startswith("vlm_runner.")]
    return [_classes(one.__module__)[one.__name__] for one in ours]


def field_docs(kind: type[BaseModel]) -> dict[str, str]:
    """What stands under each field, also under those that a base class has."""
    return {name: text for one in _sources(kind) for name, text in one.docs.items()}


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, if it holds one."""
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    return next((one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)), None)


def type_text(kind: type[BaseModel], name: str) -> str:
    """A field's type as a user of TOML reads it."""
    schema = kind.model_json_schema(ref_template="{model}", mode="validation")
    return _json_type(schema["properties"][name], schema.get("$defs", {}))


def _json_type(schema: dict[str, Any], defs: dict[str, Any]) -> str:  # noqa: PLR0911
    if "$ref" in schema:
        return _json_type(defs[schema["$ref"]], defs)
    if "enum" in schema:
        return " or ".join(f'`"{one}"`' for one in schema["enum"])
    if "const" in schema:
        return f'`"{schema["const"]}"`'
    if "anyOf" in schema:
        parts = [_json_type(one, defs) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(parts))
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    if schema.get("type") == "array":
        return f"list of {_json_type(schema.get('items', {}), defs)}"
    if schema.get("type") == "object":
        return "table"
    return words.get(schema.get("type", ""), "any") + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    names = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]:g}" for key, sign in names.items() if key in schema]
    return f", {' and '.join(limits)}" if limits else ""


def default_text(kind: type[BaseModel], name: str) -> str:
    field = kind.model_fields[name]
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ({}, ()):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(_quoted(one) for one in value)}]`"
    return f"`{_quoted(value)}`"


def _quoted(value: object) -> str:
    return str(value) if isinstance(value, int | float) else f'"{value}"'


def cell(text: str) -> str:
    """In one cell of a table: no line ends, and no bar that is not in code."""
    return " ".join(text.split()).replace("|", "\\|")


def _rows(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    docs = field_docs(kind)
    for name, field in kind.model_fields.items():
        if section_of(field.annotation) is None:
            yield (
                f"| `{prefix}{name}` | {cell(type_text(kind, name))} | {cell(default_text(kind, name))} "
                f"| {cell(docs.get(name, ''))} |"
            )


def spec() -> str:
    lines = [
        "# The spec: `run.toml`",
        "",
        "One file describes one run. `vlm-runner init` writes one with comments; unknown keys are refused, and the one",
        "that was probably meant is named. Every section but `[dataset]`, `[model]` and `[training]` has defaults.",
        "",
    ]
    for title, kind in _sections(RunSpec):
        lines += [f"## `[{title}]`", ""] + ([docstring(kind), ""] if docstring(kind) else [])
        rows = list(_rows(kind))
        if rows:
            lines += ["| key | value | default | meaning |", "|---|---|---|---|", *rows, ""]
    lines += [
        "## `[tags]`",
        "",
        f"A table of tags: keys and values. {cell(field_docs(RunSpec)['tags'])}",
    ]
    return "\n".join(lines) + "\n"


def _sections(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in kind.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            yield f"{prefix}{name}", inner
            yield from _sections(inner, f"{prefix}{name}.")


def settings() -> str:
    lines = [
        "# Settings",
        "",
        "A spec says what a run does; settings say how and where this process works. Each is an environment variable;",
        "`Settings(...)` in Python takes the same names in lower case, and reads no environment.",
        "",
        "| variable | value | default | meaning |",
        "|---|---|---|---|",
        *_rows(Settings, "VLM_RUNNER_"),
        "",
    ]
    for name, field in Settings.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            lines += [f"## `{name}`", ""] + ([docstring(inner), ""] if docstring(inner) else [])
            lines += ["| variable | value | default | meaning |", "|---|---|---|---|"]
            lines += [*_rows(inner, f"VLM_RUNNER_{name.upper()}__"), ""]
    text = "\n".join(lines)
    return re.sub(r"`VLM_RUNNER_[A-Za-z_]+`", lambda found: found[0].upper(), text) + "\n"


# --- the command line ---


def commands() -> str:
    lines = [
        "# Commands",
        "",
        "Results go to stdout, everything else to stderr. `--json` prints one JSON document, which has a",
        "[schema](../schemas/README.md). What a command exits with is in [exit codes](exit-codes.md).",
        "",
    ]
    for section, named in SECTIONS.items():
        lines += [f"## {section}", ""]
        for name in named:
            context = click.Context(cli, info_name="vlm-runner")
            found = cli.get_command(context, name)
            if found is None:
                raise LookupError(name)
            lines += _command(found, click.Context(found, info_name=name, parent=context), 3)
    return "\n".join(lines) + "\n"


def _command(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    yield f"{'#' * level} `{context.command_path}`"
    yield ""
    described, example = _described(command)
    yield described
    yield ""
    yield f"```text\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```"
    yield ""
    if example:
        yield f"```console\n{example}\n```"
        yield ""
    options = [one for one in command.get_params(context) if isinstance(one, click.Option) and not one.hidden]
    rows = [record for one in options if (record := one.get_help_record(context)) is not None]
    if rows:
        yield "| option | |"
        yield "|---|---|"
        for option, meaning in rows:
            yield f"| `{option}` | {cell(meaning)} |".replace("\\|", "|", 0)
        yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _command(inner, click.Context(inner, info_name=name, parent=context), level + 1)


def _described(command: click.Command) -> tuple[str, str]:
    """A command's text, and the example in it, each line as it is typed."""
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    before, _, example = text.partition("Example:\n")
    shown = [f"$ {line.strip()}" for line in example.strip("\n").splitlines() if line.strip()]
    return before.strip(), "\n".join(shown)


def exit_codes() -> str:
    kinds: dict[int, list[str]] = {}
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.VlmRunnerError):
            kinds.setdefault(exit_code(kind.__new__(kind)), []).append(f"`{name}`")
    lines = ["# Exit codes", "", "| code | meaning | errors of `vlm_runner.errors` |", "|---|---|---|"]
    lines += [f"| {code} | {text} | {' '.join(kinds.get(code, []))} |" for code, text in EXIT_CODES.items()]
    lines += [
        "",
        "Commands that show a run (`status`, `resume`, `start`) exit with what the run came to: 0, 100, 101, 103 or 104.",
        "A process manager may start a command again after 75 and 104: the run continues, and nothing is bought twice.",
    ]
    return "\n".join(lines) + "\n"


# --- events ---


def events() -> str:
    lines = [
        "# Events",
        "",
        "A run's history is a list of entries, each with its number, its time and one of these events. `vlm-runner events`",
        "prints them, sinks send them as CloudEvents, and `RunHandle.events()` yields them. Later versions add events and",
        "fields, and remove none.",
        "",
    ]
    lines += ["## An entry", "", *_fields(Entry), ""]
    for kind in get_args(get_args(Event)[0]):
        lines += [f"## `{kind.model_fields['kind'].default}`", "", docstring(kind), "", *_fields(kind), ""]
    lines += ["## Signals", "", "What is reported between two events, and never saved.", ""]
    for kind in get_args(get_args(Signal)[0]):
        lines += [f"### `{kind.__name__}`", "", docstring(kind), ""]
    return "\n".join(lines) + "\n"


def _fields(kind: type[BaseModel]) -> list[str]:
    docs = field_docs(kind)
    types = {name: text for one in _sources(kind) for name, text in one.annotations.items()}
    rows = [
        f"| `{name}` | `{cell(types[name])}` | {cell(docs.get(name, ''))} |"
        for name in kind.model_fields
        if name != "kind" and name in types
    ]
    return ["| field | type | meaning |", "|---|---|---|", *rows] if rows else []


# --- models ---


def models() -> str:
    lines = [
        "# Models and their limits",
        "",
        "What the catalogue of this version knows (`vlm-runner prices` shows prices). Your own file, named by",
        "`VLM_RUNNER_CATALOGUE`, adds models and overrides single values.",
        "",
    ]
    today = datetime.now(UTC).date()
    for profile in load_catalogue(None).models.values():
        lines += [f"## {profile.name}", "", f"`{profile.base_id}`", "", "| | |", "|---|---|"]
        lines += [f"| {label} | {value} |" for label, value in _limits(profile, today)]
        lines.append("")
    return "\n".join(lines) + "\n"


def _limits(profile: ModelProfile, today: date) -> Iterator[tuple[str, str]]:
    records, images = profile.records, profile.images
    state = profile.lifecycle_on(today)
    yield "state when this page was built", state.lower()
    if profile.lifecycle.end_of_life is not None:
        yield "end of life", str(profile.lifecycle.end_of_life)
    yield "Regions", ", ".join(profile.regions)
    yield "records", f"{records.minimum:,} to {records.maximum:,}, {records.counting}"
    yield "tokens a record", f"{profile.tokens.per_record:,}"
    yield "images a record", f"{images.per_record}"
    yield "image formats", ", ".join(images.formats)
    yield "bytes of an image", f"{images.max_bytes:,}"
    if images.max_side is not None:
        yield "longest side in training", f"{images.max_side:,} pixels"
    yield "longest side in a test call", f"{profile.inference.max_image_side:,} pixels"
    for name, rule in profile.hyperparameters.items():
        yield f"`{name}`", f"{rule.minimum:f} to {rule.maximum:f}, default {rule.default:f}"
    yield "served", " or ".join(profile.serving.modes)
    yield "source", f"{profile.records.source}, read {profile.records.date}"


# --- the state machine ---


def phases() -> str:
    """The transitions of a whole run that change its phase, but for failures and cancels, as a table."""
    lines = ["| in phase | what happens | the run goes to |", "|---|---|---|"]
    for phase in Phase:
        for (start, event), after in TRANSITIONS.items():
            if start is phase and after is not phase and event not in LEFT_OUT:
                lines.append(f"| {phase} | [`{event}`](../reference/events.md#{event}) | {after} |")
    return "\n".join(lines) + "\n"
