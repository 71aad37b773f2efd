"""Rules about texts, whatever record they stand in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vlm_runner.lint.rules import rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.lint.finding import Finding, Location
    from vlm_runner.models import ModelProfile

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_LINE_ENDS = re.compile("[\x0b\x0c\x85\u2028\u2029]")
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")
_BARE_LF = re.compile(r"(?<!\r)\n")

SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
           "<|eom_id|>", "<|python_tag|>", "<|image|>")  # fmt: skip
"""Llama 3.2's (Meta's model card, prompt format)."""
PLACEHOLDERS = ("<image>", "<video>")


def check_text(text: str, profile: ModelProfile, at: Location) -> Iterator[Finding]:
    """Findings about one rendered text; each code at most once, with its first place."""
    for code, pattern, what in (
        ("T207", _SURROGATE, "lone surrogate"),
        ("T208", _CONTROL, "control character"),
        ("T209", _LINE_ENDS, "line-ending character"),
        ("T213", _DIRECTION, "direction mark"),
    ):
        if match := pattern.search(text):
            message = f"{what} U+{ord(match[0]):04X} at character {match.start()}"
            yield rule(code).found(message, at=at)
    for code, character, what in (("T211", "\ufeff", "U+FEFF"), ("T212", "\ufffd", "U+FFFD")):
        if (place := text.find(character)) >= 0:
            yield rule(code).found(f"{text.count(character)} times {what}, first at character {place}", at=at)
    if "\r\n" in text and _BARE_LF.search(text):
        yield rule("T210").found("CRLF and LF line ends in one text", at=at)
    yield from _words(text, profile, at)


def _words(text: str, profile: ModelProfile, at: Location) -> Iterator[Finding]:
    lowered = text.lower()
    reserved = {word.lower() for word in profile.text.reserved}
    for word, place in profile.text.reserved_in(text):
        yield rule("T220").found(
            f"'{word}' at character {place}: …{_around(text, place, len(word))}…",
            source=profile.text.source_of(
                "reserved" if word in profile.text.reserved else "reserved_as_spelt"
            ),
            fix=f'Take it out, or set strip = ["{word}"] under [prompt].',
            fixes="strip",
            value=word,
            at=at,
        )
    for code, words in (("T221", SPECIAL), ("T222", PLACEHOLDERS)):
        for word in words:
            if word not in reserved and (place := lowered.find(word)) >= 0:
                yield rule(code).found(
                    f"'{word}' at character {place}: …{_around(text, place, len(word))}…",
                    fix=f'Take it out, or set strip = ["{word}"] under [prompt].',
                    fixes="strip",
                    value=word,
                    at=at,
                )


def _around(text: str, place: int, length: int) -> str:
    return " ".join(text[max(0, place - 12) : place + length + 12].split())
