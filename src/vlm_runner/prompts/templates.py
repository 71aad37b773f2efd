"""Prompts: Jinja2 templates over a row's columns, or the turns that a column holds."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.runtime import LoopContext

from vlm_runner.column_path import parse as parse_path
from vlm_runner.core.conversation import Conversation
from vlm_runner.core.text import storable
from vlm_runner.errors import ConfigurationError, RowError
from vlm_runner.prompts.limits import FEW, METER, LimitedEnvironment, size
from vlm_runner.prompts.problem import RenderProblem
from vlm_runner.prompts.tags import COLLECTED, TurnTags, at_marks
from vlm_runner.prompts.turns import (
    Message,
    NotATurn,
    in_order,
    placed_turns,
    read_messages,
    read_system,
    split_at_places,
    turn_problems,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jinja2 import Template

    from vlm_runner.core.conversation import Turn
    from vlm_runner.prompts.problem import Kind
    from vlm_runner.prompts.turns import Part
    from vlm_runner.spec import Columns, PromptSpec

PARTS = ("system", "user", "assistant")
HANG = 5
"""Columns by which the later lines of a value stand further in than the label they belong to."""

BEDROCK: Final = "bedrock"
MESSAGES: Final = ("messages", "openai-vision", "sharegpt", BEDROCK)
"""Presets whose turns are the data's own."""
_CHATS = ("messages", "conversations", "conversation", "chat", "dialogue", "dialog", "texts")
USUAL: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "messages": {"messages": _CHATS},
    "openai-vision": {"messages": _CHATS},
    "sharegpt": {"messages": ("conversations", *_CHATS)},
    BEDROCK: {"messages": ("messages",)},
    "qa": {
        "question": ("question", "query", "problem", "instruction", "prompt"),
        "answer": (
            "answer",
            "answers",
            "multiple_choice_answer",
            "label",
            "solution",
            "response",
            "completion",
        ),
    },
    "caption": {
        "caption": ("caption", "captions", "text", "txt", "description", "descriptions", "sentences")
    },
}
"""Of each preset the columns that it reads, and the names under which they are found."""
ANSWERS: Final = {"qa": "answer", "caption": "caption"}
"""The column that may hold a list of texts, each of which is right."""


_IMAGES: Final = {"openai-vision": "image_url.url", BEDROCK: "image.source"}


def images_in(preset: str | None, messages: str | None) -> str | None:
    """Where a preset's images are in the column `messages`, as a place in it; None: in no such place."""
    inside = _IMAGES.get(preset or "")
    return None if inside is None else f"{messages or 'messages'}[].content[].{inside}"


class Rendered(NamedTuple):
    """What a row becomes."""

    conversation: Conversation
    accepted: tuple[str, ...] = ()
    """Further answers that are as right as the one that is trained."""

    @property
    def system(self) -> str | None:
        return self.conversation.system

    @property
    def user(self) -> str:
        """The last question."""
        return self.conversation.turns[-2].text

    @property
    def assistant(self) -> str:
        """The last answer."""
        return self.conversation.answer


class Attempt(NamedTuple):
    """What of a row can be rendered, and what is wrong with it."""

    texts: tuple[tuple[str, str], ...]
    """Field and text: `system`, `user` and `assistant` of templates, `messages[1]` of the data's turns."""
    problems: tuple[RenderProblem, ...]
    rendered: Rendered | None
    """None where there are problems."""


SURROGATE: Final = re.compile("[\ud800-\udfff]")


class _PrintsNone(Exception):
    """A template printed None, which would put the word "None" into a training example."""


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    template: Template
    columns: frozenset[str]
    strip: tuple[str, ...]
    constant: str | None = None
    """What a template without any expression prints."""
    prints: frozenset[str] = frozenset()
    """The columns that it prints as they are."""

    def attempt(self, fields: Mapping[str, Any], **more: Any) -> str | RenderProblem:
        """The text, or what is wrong with it; `more` is for tags."""
        text = self.printed(fields, **more)
        if isinstance(text, RenderProblem) or text.strip():
            return text
        return self._problem("empty", "is empty once rendered")

    def printed(self, fields: Mapping[str, Any], **more: Any) -> str | RenderProblem:
        """As `attempt`, but the text may be empty."""
        METER.begin()
        try:
            printed = self.constant
            if printed is None:
                printed = self.template.render({"row": fields, **fields, **more})
            text = _without(printed, self.strip)
            text.encode("utf-8")
        except _PrintsNone:
            return self._problem("missing", "is missing, and the template prints it", self._empty(fields))
        except UndefinedError as error:
            return self._problem(
                "unknown", str(error), hint=f"The columns are {', '.join(sorted(fields))}.", cause=error
            )
        except UnicodeEncodeError:
            return self._problem("surrogate", "contains an unpaired surrogate")
        except Exception as error:  # noqa: BLE001 - filters of Jinja2 raise whatever the data makes them raise
            return self._problem("fails", storable(str(error)) or type(error).__name__, cause=error)
        return text

    def _problem(self, kind: Kind, reason: str, field: str | None = None, **more: Any) -> RenderProblem:
        return RenderProblem(kind, reason, field or self.name, self.name, **more)

    def _empty(self, fields: Mapping[str, Any]) -> str:
        return ", ".join(sorted(name for name in self.columns if fields.get(name, "") is None)) or self.name


class _Turns(Protocol):
    """Where a prompt's turns come from."""

    @property
    def columns(self) -> frozenset[str]: ...

    def read(self, fields: Mapping[str, Any], images: int) -> _Read: ...


class _Read(NamedTuple):
    turns: tuple[Turn, ...] = ()
    problems: tuple[RenderProblem, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    system: str | None = None
    """The data's own."""


@dataclass(frozen=True, slots=True)
class _Templates:
    """One question and one answer."""

    user: _Part
    assistant: _Part
    columns: frozenset[str]
    places: bool
    """Whether placeholders in the question are the places of images."""

    def read(self, fields: Mapping[str, Any], images: int) -> _Read:
        asked, answered = self.user.attempt(fields), self.assistant.attempt(fields)
        if isinstance(asked, RenderProblem) or isinstance(answered, RenderProblem):
            found = ((self.user.name, asked), (self.assistant.name, answered))
            problems = tuple(text for _, text in found if isinstance(text, RenderProblem))
            return _Read((), problems, tuple((name, text) for name, text in found if isinstance(text, str)))
        parts = tuple(self._parts(asked))
        turns = placed_turns([("user", parts), ("assistant", (answered,))], images)
        if isinstance(turns, RenderProblem):
            return _Read(problems=(turns,))
        return _Read(tuple(turns), texts=(("user", turns[0].text), ("assistant", answered)))

    def _parts(self, text: str) -> Iterator[Part]:
        for part in at_marks(text):
            if self.places and isinstance(part, str):
                yield from (
                    each for each in split_at_places(part) if not isinstance(each, str) or each.strip()
                )
            else:
                yield part


@dataclass(frozen=True, slots=True)
class _TurnsTemplate:
    """A template whose `turn` blocks are the turns."""

    part: _Part
    columns: frozenset[str]

    def read(self, fields: Mapping[str, Any], images: int) -> _Read:
        said: list[tuple[str, str]] = []
        between = self.part.printed(fields, **{COLLECTED: said})
        if isinstance(between, RenderProblem):
            return _Read(problems=(between,))
        if between.strip():
            outside = " ".join(between.split())[:40]
            problem = RenderProblem(
                "fails", f"'{outside}' is outside any turn", "turns", "user",
                hint='Put it between {% turn "user" %} and {% endturn %}.',
            )  # fmt: skip
            return _Read(problems=(problem,))
        messages = [Message(role, tuple(at_marks(_without(text, self.part.strip)))) for role, text in said]
        return _of_messages(messages, images)


@dataclass(frozen=True, slots=True)
class _DataTurns:
    """The turns that a column holds."""

    columns: frozenset[str]
    strip: tuple[str, ...]
    system: str | None
    """A column beside them that holds the system text."""

    def read(self, fields: Mapping[str, Any], images: int) -> _Read:
        def cleaned(text: str) -> str:
            return _without(text, self.strip)

        try:
            messages = read_messages(fields["messages"], cleaned)
            if self.system is not None and fields.get(self.system) is not None:
                messages.insert(0, read_system(fields[self.system], cleaned))
            return _of_messages(messages, images)
        except NotATurn as error:
            problem = RenderProblem("turns", str(error), "messages", "user", rule=error.code)
            return _Read(problems=(problem,))


def _of_messages(messages: list[Message], images: int) -> _Read:
    try:
        system, parts = in_order(messages)
    except NotATurn as error:
        return _Read(problems=(RenderProblem("turns", str(error), "messages", "user", rule=error.code),))
    turns = placed_turns(parts, images)
    if isinstance(turns, RenderProblem):
        return _Read(problems=(turns,))
    texts = [(f"messages[{place}]", turn.text) for place, turn in enumerate(turns) if turn.texts]
    texts += [("system", "\n".join(system))] if system else []
    broken = {name for name, text in texts if SURROGATE.search(text)}
    problems = [*turn_problems(turns)]
    problems += [
        RenderProblem("surrogate", "contains an unpaired surrogate", name, "user") for name in sorted(broken)
    ]
    whole = tuple((name, text) for name, text in texts if name not in broken)
    own = dict(whole).get("system")
    return _Read(tuple(turns), tuple(problems), tuple(each for each in whole if each[0] != "system"), own)


@dataclass(frozen=True, slots=True)
class Prompt:
    """
    Compiled templates, or what reads the turns that the data holds.

    What a row holds is data: it is printed, never read as a template.
    """

    fingerprint: str
    """SHA-256 (hex) over all that decides what a row becomes."""
    columns: frozenset[str]
    """The columns that the templates name."""
    _system: _Part | None
    _turns: _Turns
    _reads: _Columns
    _prints: frozenset[str] = frozenset()

    @property
    def several_answers(self) -> bool:
        """Whether a row may have more than one right answer."""
        return self._reads.answer is not None

    def render(self, fields: Mapping[str, Any], *, images: int = 1, subset: str, row: int) -> Rendered:
        """
        The training example built from a row with `images`; `subset` and `row` are for error messages.

        Raises:
            RowError: a part is empty, prints a missing value, or contains an unpaired surrogate; or the turns
                are not what a model takes.
            ConfigurationError: a template names an unknown column, or fails otherwise.
        """
        attempt = self.attempt(fields, images)
        if attempt.rendered is None:
            raise _error(attempt.problems[0], subset, row)
        return attempt.rendered

    def attempt(self, fields: Mapping[str, Any], images: int = 1) -> Attempt:
        """As `render`, but every part is tried, and none raises."""
        found = self._reads.of(fields)
        if isinstance(found, RenderProblem):
            return Attempt((), (found,), None)
        fields, accepted = found
        read = self._turns.read(fields, images)
        system = read.system if self._system is None else self._system.attempt(fields)
        problems, texts = read.problems, read.texts
        if isinstance(system, RenderProblem):
            problems = (system, *problems)
        elif system is not None:
            texts = (("system", system), *texts)
        if problems or isinstance(system, RenderProblem):
            return Attempt(texts, problems, None)
        return Attempt(texts, (), Rendered(Conversation(system, read.turns), accepted))

    def not_texts(self, fields: Mapping[str, Any]) -> list[tuple[str, str]]:
        """The columns that are printed as they are, and what they hold where Python writes it its own way."""
        found = self._reads.of(fields)
        if isinstance(found, RenderProblem):
            return []
        held = ((name, _held(found[0].get(name))) for name in sorted(self._prints))
        return [(name, what) for name, what in held if what is not None]


def _held(value: Any) -> str | None:
    """What a row holds in place of a text; None for a text, and for numbers, which stay what they are."""
    if isinstance(value, bool):
        return f"a truth value, which is written as {value}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"no number, which is written as {value}"
    return (
        f"a {type(value).__name__}, which is written as in Python"
        if isinstance(value, dict | list | tuple)
        else None
    )


def _error(problem: RenderProblem, subset: str, row: int) -> ConfigurationError | RowError:
    match problem.kind:
        case "unknown":
            what = f"The {problem.part} template" if problem.cause is not None else "The prompt"
            return ConfigurationError(
                f"{what} uses a column that {subset} row {row} does not have: {problem.reason}.",
                hint=problem.hint,
            )
        case "fails":
            error = ConfigurationError(
                f"The {problem.part} template cannot be rendered for {subset} row {row}: {problem.reason}.",
                hint=problem.hint,
            )
            error.__cause__ = problem.cause
            return error
        case _:
            return RowError(subset, row, problem.field, problem.reason, code=problem.code)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What a preset reads under a name of its own."""

    usual: tuple[tuple[str, tuple[str, ...]], ...]
    given: tuple[tuple[str, str], ...]
    answer: str | None

    def of(self, fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]] | RenderProblem:
        """The row's fields with those of the preset, and the answers that are right beside the first."""
        if not self.usual and not self.given:
            return fields, ()
        read = dict(fields)
        for role, column in self.given:
            path = parse_path(column, fields)
            if path is None:
                return _no_column(role, f"there is no column '{column}' for {role}", fields)
            read[role] = path.of(fields[path.column])
        by_lower = {name.lower(): name for name in reversed(list(fields))}
        for role, names in self.usual:
            if role in dict(self.given):
                continue
            name = next((by_lower[name] for name in names if name in by_lower), None)
            if name is None:
                return _no_column(role, f"there is no column for {role}", fields)
            read[role] = fields[name]
        if self.answer is None or not isinstance(read[self.answer], list | tuple | dict):
            return read, ()
        accepted = accepted_answers(read[self.answer])
        read[self.answer] = accepted[0] if accepted else None
        return read, tuple(accepted[1:])


def _no_column(role: str, reason: str, fields: Mapping[str, Any]) -> RenderProblem:
    columns = ", ".join(sorted(fields.keys() - {"image_count"}))
    hint = f'The columns are {columns}. Say which one: columns = {{ {role} = "…" }} under [dataset].'
    if not columns:
        hint = (
            "There are only images: write a metadata.jsonl beside them, each line as "
            f'{{"file_name": "0.png", "{role}": "…"}}.'
        )
    return RenderProblem("unknown", reason, role, "user", hint=hint)


def accepted_answers(value: Any) -> list[str]:
    """
    The texts of a list of answers, each once, in order.

    VQA's annotators each give `{answer, answer_id, …}`; TextVQA, DocVQA and captions are lists of texts.
    """
    if isinstance(value, dict):  # an older `Sequence` of dicts is lists by key
        value = value.get("answer", value.get("text", []))
    items = value if isinstance(value, list | tuple) else [value]
    found = [item.get("answer", item.get("text")) if isinstance(item, dict) else item for item in items]
    texts = [item if isinstance(item, str) else str(item) for item in found if item is not None]
    return list(dict.fromkeys(text for text in texts if text.strip()))


@lru_cache(maxsize=64)
def compile_prompt(spec: PromptSpec, columns: Columns | None = None) -> Prompt:
    """
    What `spec` names: a preset's templates or turns, each part replaced by the spec's own where it gives one.

    `columns` are those of the dataset's section, as far as a preset reads them.

    Raises:
        ConfigurationError: no such preset, or a template with a syntax error (with its line).
    """
    if spec.preset is not None and spec.preset not in preset_names():
        raise ConfigurationError(
            f"Unknown prompt preset '{spec.preset}'.", hint=f"Presets: {', '.join(preset_names())}."
        )
    reads, own = _columns(spec, columns), spec.user is not None or spec.assistant is not None
    if spec.preset in MESSAGES and not own:
        roles = frozenset(role for role, _ in reads.usual)
        texts = {} if spec.system is None else {"system": spec.system}
        system = "system" if spec.preset == BEDROCK else None
        return _prompt(spec, texts, reads, lambda _: _DataTurns(roles, spec.strip, system))
    if spec.turns is not None:
        texts = {"turns": spec.turns} | ({} if spec.system is None else {"system": spec.system})
        return _prompt(
            spec, texts, reads, lambda parts: _TurnsTemplate(parts["turns"], parts["turns"].columns)
        )
    texts = preset(spec.preset) if spec.preset is not None else {}
    given = {"system": spec.system, "user": spec.user, "assistant": spec.assistant}
    texts |= {name: text for name, text in given.items() if text is not None}

    def turns(parts: Mapping[str, _Part]) -> _Templates:
        if "user" not in parts or "assistant" not in parts:
            raise ConfigurationError(
                f"The preset '{spec.preset}' takes its turns from the data, and has no templates of its own.",
                hint="Leave prompt.user and prompt.assistant out, or give both without a preset.",
            )
        user, assistant = parts["user"], parts["assistant"]
        return _Templates(user, assistant, user.columns | assistant.columns, places=spec.preset in ANSWERS)

    return _prompt(spec, texts, reads, turns)


def _prompt(
    spec: PromptSpec, texts: dict[str, str], reads: _Columns, turns: Callable[[Mapping[str, _Part]], _Turns]
) -> Prompt:
    parts = {name: _compile(name, text, spec.strip) for name, text in texts.items()}
    made = turns(parts)
    facts: dict[str, Any] = dict(texts)
    if spec.strip:
        facts["strip"] = list(spec.strip)
    if reads.usual or reads.given:
        facts["reads"] = [spec.preset, reads.usual, reads.given]
    system = parts.get("system")
    named = made.columns | (system.columns if system is not None else frozenset())
    return Prompt(
        fingerprint=hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest(),
        columns=named - {"row"},
        _system=system,
        _turns=made,
        _reads=reads,
        _prints=frozenset().union(*(part.prints for part in parts.values())),
    )


def _columns(spec: PromptSpec, columns: Columns | None) -> _Columns:
    roles = ("messages", "question", "answer", "caption")
    named = [(role, getattr(columns, role, None)) for role in roles]
    given = tuple((role, column) for role, column in named if column is not None)
    if spec.preset not in USUAL or (spec.preset in MESSAGES and (spec.user or spec.assistant)):
        return _Columns((), given, None)
    needed = {role: names for role, names in USUAL[spec.preset].items() if not _replaced(role, spec)}
    answer = ANSWERS.get(spec.preset)
    return _Columns(tuple(needed.items()), given, answer if answer in needed else None)


def _replaced(role: str, spec: PromptSpec) -> bool:
    """Whether the part that a preset reads a column for is the spec's own template."""
    own = spec.user if role == "question" else spec.assistant if role in {"answer", "caption"} else None
    return own is not None


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
        part: next((file for folder in folders if (file := folder / f"{part}.jinja").is_file()), None)
        for part in PARTS
    }
    return {part: file.read_text(encoding="utf-8") for part, file in found.items() if file is not None}


def preset_names() -> list[str]:
    folders = (files("vlm_runner.prompts") / "presets").iterdir()
    return sorted({*(item.name for item in folders if item.is_dir()), *MESSAGES})


def _compile(name: str, text: str, strip: tuple[str, ...]) -> _Part:
    environment = _environment()
    try:
        tree = environment.parse(text)
        template = environment.from_string(text)
        # Jinja2 copies them for each rendering, and copies a dict ten times as fast as its own ChainMap.
        template.globals = dict(template.globals)
        named = frozenset(meta.find_undeclared_variables(tree))
        constant = template.render() if _is_plain_text(tree) else None
        return _Part(name, template, named, strip, constant, named & _printed_names(tree))
    except TemplateSyntaxError as error:
        raise ConfigurationError(
            f"The {name} template has a syntax error in line {error.lineno}: {error.message}.",
            hint=f"Repair prompt.{name} in the spec; see the Jinja2 template documentation.",
        ) from error
    except RecursionError as error:
        raise ConfigurationError(
            f"The {name} template is nested too deeply.", hint=f"Repair prompt.{name} in the spec."
        ) from error
    except ValueError as error:  # of Jinja2's lexer: a number of more than 4,300 digits
        raise ConfigurationError(
            f"The {name} template has a number of too many digits.",
            hint=f"Repair prompt.{name} in the spec.",
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


class _Environment(LimitedEnvironment):
    """
    `finding.plan` is first the item of that name: data before methods.

    That, and what a loop says of itself, needs no looking into by the sandbox, which would take as long as
    all else of a record.
    """

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is dict:
            if attribute in obj:
                return obj[attribute]
        elif type(obj) is LoopContext and not attribute.startswith("_"):
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)


def _environment() -> LimitedEnvironment:
    environment = _Environment(
        undefined=StrictUndefined,
        extensions=[TurnTags],
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
    if type(value) is not str:
        METER.printed(size(value))
    elif len(value) > FEW:  # the turns of loops, which are counted, bound the others
        METER.printed(len(value))
    return value


def hang(text: str) -> str:
    """`text` with its later lines indented, so that none of them can look like a new item."""
    if "\n" not in text:
        return text
    first, *rest = text.split("\n")
    return "\n".join([first, *(" " * HANG + line if line else line for line in rest)])


def _printed_names(tree: nodes.Template) -> frozenset[str]:
    """The names that stand alone between `{{` and `}}`."""
    printed = (each for output in tree.find_all(nodes.Output) for each in output.nodes)
    return frozenset(each.name for each in printed if isinstance(each, nodes.Name))


def _is_plain_text(tree: nodes.Template) -> bool:
    return all(
        isinstance(output, nodes.Output)
        and all(isinstance(each, nodes.TemplateData) for each in output.nodes)
        for output in tree.body
    )
