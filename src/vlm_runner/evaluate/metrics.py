"""
What is measured about one answer.

A metric is any callable from a reference and an answer to a number, or to several with names. Numbers are
averaged over rows; more is better.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from rapidfuzz import fuzz
from rapidfuzz.distance import Indel

from vlm_runner.prompts.parse import parse_answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vlm_runner.prompts.parse import Item

FIELDS: Final = ("eval_items", "eval_reason", "plan")

HITS, SAID, EXPECTED = "findings.hits", "findings.said", "findings.expected"
"""Counts, from which precision and recall are taken over all rows at once."""
COUNTS: Final = (HITS, SAID, EXPECTED)

LONGEST: Final = 10_000
"""Characters that are compared; the work grows with their square."""


ISLAND: Final = 12
"""A common piece shorter than this many characters does not separate two changes."""

_WORD = re.compile(r"[^\W_]+|\s+|.", re.DOTALL)


class Metric(Protocol):
    def __call__(self, reference: str, answer: str, /) -> float | Mapping[str, float]: ...


def scores(reference: str, answer: str) -> dict[str, float]:
    """What can be measured about any answer, plus what the format of its reference allows."""
    found = {"exact": exact(reference, answer), "similarity": similarity(reference, answer)}
    if parse_answer(reference).complete:
        return found | _sections(reference, answer)
    if (fields := _object(reference)) is not None:
        return found | _object_fields(fields, answer)
    return found


def exact(reference: str, answer: str) -> float:
    """1.0 if both are equal apart from case and white space."""
    return float(_normal(reference) == _normal(answer))


def similarity(reference: str, answer: str) -> float:
    """From 0 to 1: rapidfuzz's ratio of what two texts share, character by character."""
    return fuzz.ratio(_normal(reference)[:LONGEST], _normal(answer)[:LONGEST]) / 100


def nearest(texts: Sequence[str], answer: str) -> str:
    """Of `texts`, the first of those that `answer` is equal to, or else most similar to."""
    given = _normal(answer)  # once: both may be long

    def likeness(text: str) -> tuple[bool, float]:
        wanted = _normal(text)
        return wanted == given, fuzz.ratio(wanted[:LONGEST], given[:LONGEST])

    return max(texts, key=likeness)


def _sections(reference: str, answer: str) -> dict[str, float]:
    expected, said = parse_answer(reference), parse_answer(answer)
    found = {
        "sections": float(said.complete),
        "thought.similarity": similarity(expected.thought, said.thought),
        "solution.similarity": similarity(expected.solution, said.solution),
    }
    if expected.items:
        pairs = _paired(expected.items, said.items)
        for field in FIELDS:
            texts = [(getattr(a, field) if a else "", getattr(b, field) if b else "") for a, b in pairs]
            texts = [(a, b) for a, b in texts if a or b]
            if texts:
                found[f"{field}.exact"] = sum(exact(a, b) for a, b in texts) / len(texts)
                found[f"{field}.similarity"] = sum(similarity(a, b) for a, b in texts) / len(texts)
    return found | _findings(expected.items, said.items)


def _findings(expected: Sequence[Item], said: Sequence[Item]) -> dict[str, float]:
    """A finding counts as found if its `eval_items` are named, however its reason is worded."""
    wanted = Counter(_normal(item.eval_items) for item in expected if item.eval_items)
    given = Counter(_normal(item.eval_items) for item in said if item.eval_items)
    return {
        HITS: float((wanted & given).total()),
        SAID: float(given.total()),
        EXPECTED: float(wanted.total()),
    }


def _paired(expected: Sequence[Item], said: Sequence[Item]) -> list[tuple[Item | None, Item | None]]:
    """Each finding with the most similar one; those left over are paired with None."""
    candidates = sorted(
        (
            (_pair_score(one, other), i, j)
            for i, one in enumerate(expected[:50])
            for j, other in enumerate(said[:50])
        ),
        key=lambda found: (-found[0], found[1], found[2]),
    )
    partners: dict[int, int] = {}
    for score, i, j in candidates:
        if score > 0 and i not in partners and j not in partners.values():
            partners[i] = j
    taken = set(partners.values())
    pairs: list[tuple[Item | None, Item | None]] = [
        (one, said[partners[i]] if i in partners else None) for i, one in enumerate(expected)
    ]
    return pairs + [(None, other) for j, other in enumerate(said) if j not in taken]


def _pair_score(one: Item, other: Item) -> float:
    same = 2.0 if one.eval_items and _normal(one.eval_items) == _normal(other.eval_items) else 0.0
    return same + similarity(one.eval_reason, other.eval_reason)


def _object(text: str) -> dict[str, str] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return {name: inner if isinstance(inner, str) else json.dumps(inner) for name, inner in value.items()}


def _object_fields(expected: Mapping[str, str], answer: str) -> dict[str, float]:
    said = _object(answer)
    found = {"json": float(said is not None)}
    for name, text in expected.items():
        given = (said or {}).get(name, "")
        found[f"{name}.exact"] = exact(text, given)
        found[f"{name}.similarity"] = similarity(text, given)
    return found


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def differences(reference: str, answer: str) -> list[tuple[str, str]]:
    """
    `answer` as pieces: ("same" | "added" | "missing", text).

    Word by word; the pieces that are not "missing" make up the answer, and those that are not "added" the
    reference. A few letters in common between two changes are part of the change, since nobody reads text
    that is chopped up.
    """
    wanted, given = _words(reference), _words(answer)
    pieces: list[tuple[str, str]] = []
    before, after = "", ""
    for code in Indel.opcodes(wanted, given):
        old = "".join(wanted[code.src_start : code.src_end])
        new = "".join(given[code.dest_start : code.dest_end])
        if code.tag == "equal" and not ((before or after) and len(old.strip()) < ISLAND):
            pieces += _changed(before, after)
            pieces.append(("same", old))
            before, after = "", ""
        else:
            before, after = before + old, after + new
    return pieces + _changed(before, after)


def _changed(before: str, after: str) -> list[tuple[str, str]]:
    if before == after:
        return [("same", after)] if after else []
    return [piece for piece in (("missing", before), ("added", after)) if piece[1]]


def _words(text: str) -> list[str]:
    return _WORD.findall(text)
