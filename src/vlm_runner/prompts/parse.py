"""Read an answer of the accessibility preset back into its parts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vlm_runner.prompts.templates import HANG

THOUGHT = ("<thought>", "</thought>")
SOLUTION = ("<solution>", "</solution>")
LABELS = {"items": "eval_items", "reason": "eval_reason", "plan": "plan"}

_OPENS = re.compile(THOUGHT[0], re.IGNORECASE)
_CLOSES = re.compile(THOUGHT[1], re.IGNORECASE)
_BETWEEN = re.compile(rf"{THOUGHT[1]}\s*{SOLUTION[0]}", re.IGNORECASE)
_TO_THE_END = re.compile(rf"(.*){SOLUTION[1]}", re.IGNORECASE | re.DOTALL)
_LABELLED = re.compile(
    r"(?:(\d+)[.)] ?| {0,4})(Items|Reason|Plan): ?(.*)", re.ASCII | re.IGNORECASE | re.DOTALL
)
_NUMBERED = re.compile(r"\d+[.)] (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Item:
    """One finding as the answer lists it."""

    eval_items: str = ""
    eval_reason: str = ""
    plan: str = ""


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    thought: str
    solution: str
    items: tuple[Item, ...]
    complete: bool
    """Whether all four tags were there, in order."""


def parse_answer(text: str) -> ParsedAnswer:
    """
    The parts of `text`, as far as it has them: any text is read, and none is an error.

    Without tags the whole text is the solution. White space around a part is left out.
    """
    between = _BETWEEN.search(text)
    if between is None:
        thought, solution = _untagged(text)
        return ParsedAnswer(thought, solution, _items(solution), complete=False)
    before, after = text[: between.start()], text[between.end() :]
    opens, ends = _OPENS.search(before), _TO_THE_END.match(after)
    solution = ends[1] if ends else after
    return ParsedAnswer(
        thought=before[opens.end() :].strip() if opens else before.strip(),
        solution=solution.strip(),
        items=_items(solution),
        complete=opens is not None and ends is not None,
    )


def _untagged(text: str) -> tuple[str, str]:
    # A model cut off in its thought has said nothing else; one that knows no tags has only a solution.
    opens = _OPENS.search(text)
    if opens is None:
        return "", text.strip()
    thought, *solution = _CLOSES.split(text[opens.end() :], maxsplit=1)
    return thought.strip(), "".join(solution).strip()


@dataclass(slots=True)
class _Draft:
    values: dict[str, list[str]] = field(default_factory=dict)
    last: str = ""

    def start(self, name: str, line: str) -> None:
        self.values[name] = [line]
        self.last = name

    def item(self) -> Item:
        return Item(**{name: "\n".join(lines).strip() for name, lines in self.values.items()})


def _items(solution: str) -> tuple[Item, ...]:
    drafts: list[_Draft] = []
    for line in solution.split("\n"):
        if match := _LABELLED.fullmatch(line):
            name = LABELS[match[2].lower()]
            if match[1] or not drafts or name in drafts[-1].values:
                drafts.append(_Draft())
            drafts[-1].start(name, match[3])
        elif match := _NUMBERED.fullmatch(line):
            drafts.append(_Draft())
            drafts[-1].start("eval_reason", match[1])
        elif drafts:
            drafts[-1].values[drafts[-1].last].append(line.removeprefix(" " * HANG))
    return tuple(draft.item() for draft in drafts)
