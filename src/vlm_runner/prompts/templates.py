"""Prompts as Jinja2 templates over a row's columns."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vlm_runner.errors import ConfigurationError, RowError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Template

    from vlm_runner.spec import PromptSpec

PARTS = ("system", "user", "assistant")
CODES = {"missing": "T201", "surrogate": "T207", "unknown": "S506", "fails": "S505"}
EMPTY = {"system": "T204", "user": "T202", "assistant": "T203"}
"""Codes of lint's rules for a part that is empty once rendered."""
HANG = 5
"""Columns by which the later lines of a value stand further in than the label they belong to."""


@dataclass(frozen=True, slots=True)
class RenderedQuestion:
    system: str | None
    user: str


@dataclass(frozen=True, slots=True)
class Rendered:
    system: str | None
    user: str
    assistant: str


@dataclass(frozen=True, slots=True)
class RenderProblem:
    """Why a part of a row cannot be rendered; `reason` is a clause without a final period."""

    kind: Literal["missing", "empty", "surrogate", "unknown", "fails"]
    reason: str
    field: str
    part: str
    """Of PARTS."""
    hint: str | None = None
    cause: Exception | None = None

    @property
    def code(self) -> str:
        """Of lint's rule."""
        return EMPTY[self.part] if self.kind == "empty" else CODES[self.kind]

    @property
    def of_the_row(self) -> bool:
        """Whether the row is at fault; else the template is, and no row can be rendered."""
        return self.kind not in {"unknown", "fails"}


class _PrintsNone(Exception):
    """A template printed None, which would put the word "None" into a training example."""


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    template: Template
    columns: frozenset[str]
    strip: tuple[str, ...]

    def attempt(self, fields: Mapping[str, Any]) -> str | RenderProblem:
        """The text, or what is wrong with it."""
        try:
            text = _without(self.template.render({"row": fields, **fields}), self.strip)
            text.encode("utf-8")
        except _PrintsNone:
            return self._problem("missing", "is missing, and the template prints it", self._empty(fields))
        except UndefinedError as error:
            return self._problem(
                "unknown", str(error), hint=f"The columns are {', '.join(sorted(fields))}.", cause=error
            )
        except UnicodeEncodeError:
            return self._problem("surrogate", "contains an unpaired surrogate")
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            return self._problem("fails", str(error), cause=error)
        return text if text.strip() else self._problem("empty", "is empty once rendered")

    def _problem(
        self,
        kind: Literal["missing", "empty", "surrogate", "unknown", "fails"],
        reason: str,
        field: str | None = None,
        **more: Any,
    ) -> RenderProblem:
        return RenderProblem(kind, reason, field or self.name, self.name, **more)

    def render(self, fields: Mapping[str, Any], subset: str, row: int) -> str:
        text = self.attempt(fields)
        if isinstance(text, str):
            return text
        match text.kind:
            case "unknown":
                raise ConfigurationError(
                    f"The {self.name} template uses a column that {subset} row {row} does not have: "
                    f"{text.reason}.",
                    hint=text.hint,
                )
            case "fails":
                raise ConfigurationError(
                    f"The {self.name} template cannot be rendered for {subset} row {row}: {text.reason}."
                ) from text.cause
            case _:
                raise RowError(subset, row, text.field, text.reason, code=text.code)

    def _empty(self, fields: Mapping[str, Any]) -> str:
        return ", ".join(sorted(name for name in self.columns if fields.get(name, "") is None)) or self.name


@dataclass(frozen=True, slots=True)
class Prompt:
    """
    Compiled templates.

    What a row holds is data: it is printed, never read as a template.
    """

    fingerprint: str
    """SHA-256 (hex) over the templates' text."""
    columns: frozenset[str]
    """The columns that the templates name."""
    _system: _Part | None
    _user: _Part
    _assistant: _Part

    def render(self, fields: Mapping[str, Any], *, subset: str, row: int) -> Rendered:
        """
        The training example built from a row; `subset` and `row` are for error messages.

        Raises:
            RowError: a part is empty, prints a missing value, or contains an unpaired surrogate.
            ConfigurationError: a template names an unknown column, or fails otherwise.
        """
        question = self.render_question(fields, subset=subset, row=row)
        return Rendered(question.system, question.user, self._assistant.render(fields, subset, row))

    def parts(self, fields: Mapping[str, Any]) -> dict[str, str | RenderProblem]:
        """As `render`, but every part is tried, and none raises: by the names system, user and assistant."""
        parts = [part for part in (self._system, self._user, self._assistant) if part is not None]
        return {part.name: part.attempt(fields) for part in parts}

    def render_question(self, fields: Mapping[str, Any], *, subset: str, row: int) -> RenderedQuestion:
        """As `render`, without the answer: for test calls."""
        system = None if self._system is None else self._system.render(fields, subset, row)
        return RenderedQuestion(system, self._user.render(fields, subset, row))


@lru_cache(maxsize=64)
def compile_prompt(spec: PromptSpec) -> Prompt:
    """
    The templates that `spec` names: its preset's, each replaced by the spec's own where it gives one.

    Raises:
        ConfigurationError: no such preset, or a template with a syntax error (with its line).
    """
    texts = preset(spec.preset) if spec.preset is not None else {}
    own = {"system": spec.system, "user": spec.user, "assistant": spec.assistant}
    texts |= {name: text for name, text in own.items() if text is not None}
    parts = {name: _compile(name, text, spec.strip) for name, text in texts.items()}
    stripped = {"strip": list(spec.strip)} if spec.strip else {}
    return Prompt(
        fingerprint=hashlib.sha256(json.dumps(texts | stripped, sort_keys=True).encode()).hexdigest(),
        columns=frozenset().union(*(part.columns for part in parts.values())) - {"row"},
        _system=parts.get("system"),
        _user=parts["user"],
        _assistant=parts["assistant"],
    )


def preset(name: str) -> dict[str, str]:
    """
    The templates of the preset `name`; `a-b` takes from `a` what it does not have itself.

    Raises:
        ConfigurationError: no such preset; names those there are.
    """
    if name not in preset_names():
        raise ConfigurationError(
            f"Unknown prompt preset '{name}'.", hint=f"Presets: {', '.join(preset_names())}."
        )
    presets = files("vlm_runner.prompts") / "presets"
    folders = [presets / name, presets / name.partition("-")[0]]
    found = {
        part: next(file for folder in folders if (file := folder / f"{part}.jinja").is_file())
        for part in PARTS
    }
    return {part: file.read_text(encoding="utf-8") for part, file in found.items()}


def preset_names() -> list[str]:
    return sorted(item.name for item in (files("vlm_runner.prompts") / "presets").iterdir() if item.is_dir())


def _compile(name: str, text: str, strip: tuple[str, ...]) -> _Part:
    environment = _environment()
    try:
        named = meta.find_undeclared_variables(environment.parse(text))
        return _Part(name, environment.from_string(text), frozenset(named), strip)
    except TemplateSyntaxError as error:
        raise ConfigurationError(
            f"The {name} template has a syntax error in line {error.lineno}: {error.message}.",
            hint=f"Repair prompt.{name} in the spec; see the Jinja2 template documentation.",
        ) from error


def _without(text: str, words: tuple[str, ...]) -> str:
    """`text` without `words`, in any case; also without those that taking one out has put together."""
    if not words:
        return text
    pattern = re.compile(
        "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)), re.IGNORECASE
    )
    while (shorter := pattern.sub("", text)) != text:
        text = shorter
    return text


class _Environment(ImmutableSandboxedEnvironment):
    """
    `finding.plan` is first the item of that name: data before methods.

    That, and what a loop says of itself, needs no looking into by the sandbox, which would take as long as
    all else of a record.
    """

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        if type(obj) is LoopContext and not attribute.startswith("_"):
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = _Environment(
        undefined=StrictUndefined,
        autoescape=False,  # the output is plain text; escaping would change the data
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["hang"] = hang
    return environment


def _printable(value: object) -> object:
    if value is None:
        raise _PrintsNone
    return value


def hang(text: str) -> str:
    """`text` with its later lines indented, so that none of them can look like a new item."""
    first, *rest = text.split("\n")
    return "\n".join([first, *(" " * HANG + line if line else line for line in rest)])
