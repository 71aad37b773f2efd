"""
How two answers to the same request differ: AWS's, as a recording has it, and a sandbox's. Pure.

Names, numbers and moments are another account's and another day's. So what is compared is what a program
goes by: status, code, message, which members there are, their types, the words among their values, and
states in their order.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from vlm_runner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vlm_runner.verify.recording import Exchange

Kind = Literal["status", "code", "message", "members", "types", "values", "states"]

Shape = dict[str, tuple[set[str], set[str]]]
"""By the path of a member: its types, and the words among its values."""

_PLACEHOLDER: Final = re.compile(r"name-[a-z2-7]{8}|x[a-z2-7]{11}")
_WORD: Final = re.compile(r"[A-Z][A-Za-z]*(?:_[A-Za-z]+)*")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.+-]+Z?")
_STATE: Final = ("status", "modelStatus")


@dataclass(frozen=True, slots=True)
class Difference:
    operation: str
    kind: Kind
    at: str
    """The member, or what the request was about; empty for the whole answer."""
    aws: str
    sandbox: str

    def __str__(self) -> str:
        place = f" {self.at}" if self.at else ""
        return f"{self.operation}: {self.kind}{place}: AWS {self.aws}; the sandbox {self.sandbox}"


@dataclass(frozen=True, slots=True)
class Known:
    """A difference that is known, and why it is let be."""

    operation: str
    kind: Kind
    at: str
    reason: str

    def covers(self, found: Difference) -> bool:
        return (self.operation, self.kind, self.at) == (found.operation, found.kind, found.at)


def known_differences(path: Path | None = None) -> tuple[Known, ...]:
    """
    Those of a file, or of the package's own.

    Raises:
        ConfigurationError: the file cannot be read, or an entry has no reason.
    """
    path = path or Path(__file__).with_name("known_differences.toml")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        found = tuple(Known(**each) for each in table.get("known", []))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise ConfigurationError(f"{path} cannot be read as known differences: {error}.") from error
    if any(not str(each.reason).strip() for each in found):
        raise ConfigurationError(f"{path} has a known difference that gives no reason.")
    return found


def differences(aws: Exchange, sandbox: Exchange) -> Iterator[Difference]:
    """Of one exchange: whether it was accepted, and else how it was refused."""

    def found(kind: Kind, one: object, other: object) -> Difference:
        return Difference(aws.operation, kind, aws.probe, str(one), str(other))

    if aws.status != sandbox.status:
        yield found("status", aws.brief, sandbox.brief)
        return
    if aws.code != sandbox.code:
        yield found("code", aws.code, sandbox.code)
    if _plain(aws.message) != _plain(sandbox.message):
        yield found("message", aws.message, sandbox.message)


def shape_differences(aws: Sequence[Exchange], sandbox: Sequence[Exchange]) -> Iterator[Difference]:
    """
    Of all accepted answers to one assumption's requests: members, types, and the words among values.

    Together, since what is in an answer depends on how far something has come.
    """
    theirs, ours = _shapes(aws), _shapes(sandbox)
    for group in theirs.keys() & ours.keys():
        operation, _ = group
        yield from _of_shapes(operation, theirs[group], ours[group])


def _of_shapes(operation: str, aws: Shape, sandbox: Shape) -> Iterator[Difference]:
    for path in sorted(aws.keys() ^ sandbox.keys()):
        if not _below_empty(path, sandbox if path in aws else aws):
            has, lacks = "has it", "lacks it"
            pair = (has, lacks) if path in aws else (lacks, has)
            yield Difference(operation, "members", path, *pair)
    for path in sorted(aws.keys() & sandbox.keys()):
        (types, words), (our_types, our_words) = aws[path], sandbox[path]
        if types != our_types:
            yield Difference(operation, "types", path, _listed(types), _listed(our_types))
        # How far something had come is told as states, and the parts of a job depend on the hour.
        if words != our_words and path.rpartition(".")[2] not in _STATE:
            yield Difference(operation, "values", path, _listed(words), _listed(our_words))


def _listed(words: set[str]) -> str:
    return ", ".join(sorted(words)) or "none"


def _shapes(exchanges: Sequence[Exchange]) -> dict[tuple[str, str], Shape]:
    found: dict[tuple[str, str], Shape] = {}
    for each in exchanges:
        if each.accepted:
            shape = found.setdefault((each.operation, each.probe), {})
            for path, kind, word in _typed(each.answer):
                types, words = shape.setdefault(path, (set(), set()))
                types.add(kind)
                words |= {word} if word is not None else set()
    return found


def state_of(exchange: Exchange) -> str | None:
    """The state that an answer tells; None for one that tells none."""
    if exchange.code is not None:
        return exchange.code if exchange.operation.startswith("Get") else None
    return next((str(exchange.answer[each]) for each in _STATE if each in exchange.answer), None)


def passes_through(aws: Sequence[str], sandbox: Sequence[str]) -> bool:
    """
    Whether the sandbox shows AWS's states in their order.

    It may show more between them: what lasts for less than the time between two looks, a recording misses.
    """
    rest = iter(sandbox)
    return all(state in rest for state in aws)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is neither an object nor a list, with the path of its member."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from leaves(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each, f"{path}[]")
    else:
        yield path, value


def is_placeholder(text: str) -> bool:
    return _PLACEHOLDER.search(text) is not None


def _typed(value: Any, path: str = "") -> Iterator[tuple[str, str, str | None]]:
    """Every member with its type, and its value where that is a word that AWS has chosen."""
    if isinstance(value, Mapping):
        yield path, "an object", None
        for key, each in value.items():
            yield from _typed(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield path, "a list", None
        for each in value:
            yield from _typed(each, f"{path}[]")
    elif isinstance(value, bool):
        yield path, "true or false", None
    elif isinstance(value, int | float):
        yield path, "a number", None
    elif isinstance(value, str):
        kind = "a moment" if _MOMENT.fullmatch(value) else "a text"
        yield path, kind, value if _WORD.fullmatch(value) else None


def _below_empty(path: str, other: Shape) -> bool:
    """Whether it is in a list that is empty on the other side, where nothing can be compared."""
    return any(
        path.startswith(f"{each}[]") and f"{each}[]" not in other
        for each, (types, _) in other.items()
        if "a list" in types
    )


def _plain(message: str | None) -> str | None:
    """A message without what is another account's."""
    return None if message is None else re.sub(r"\d+", "0", _PLACEHOLDER.sub("name", message)).rstrip(".")
