"""
What was said between us and AWS, one JSON line an exchange, fit to be published.

The first line says when, where and with which versions. A process that is killed leaves at worst a last line
that is cut off: it was never read by anybody, and is dropped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.atomic_file import replacing
from vlm_runner.errors import DataError
from vlm_runner.redact import one_line, redacted_value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import TextIO

    from vlm_runner.aws.exchange import RawExchange
    from vlm_runner.verify.redaction import Redactor

FORMAT: Final = 1
KIND: Final = "vlm-runner recording"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, redacted."""

    probe: str
    """The assumption that it was asked for; empty where the runner asked by itself."""
    level: int
    seconds: float
    """Since the recording began."""
    service: str
    operation: str
    request: Mapping[str, Any]
    status: int
    code: str | None = None
    message: str | None = None
    answer: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def accepted(self) -> bool:
        return self.status < 300

    @property
    def brief(self) -> str:
        """What AWS did, in one line."""
        if self.accepted:
            return "accepted" if self.status == 200 else f"accepted ({self.status})"
        return f"{self.status} {self.code or 'no code'}{f': {self.message}' if self.message else ''}"


@dataclass(frozen=True, slots=True)
class Header:
    """Where a recording is from."""

    date: str
    """When it began: UTC, in ISO 8601."""
    region: str
    versions: Mapping[str, str]
    given: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the account had before: bucket, roles and model, as they stand in the exchanges."""

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": KIND,
            "format": FORMAT,
            "date": self.date,
            "region": self.region,
            "versions": dict(self.versions),
            "given": dict(self.given),
        }


class Recording:
    """A file that grows. Everything that is in it is in `exchanges`, too, across processes."""

    def __init__(self, path: Path, redactor: Redactor, header: Header) -> None:
        self._path, self._redactor = path, redactor
        self.exchanges: list[Exchange] = []
        self.probe, self.level = "", 0
        kept = _lines(path)[0] if path.exists() else []
        if kept:
            self.exchanges = [_exchange(line) for line in kept[1:]]
        else:
            kept = [header.as_json()]
        # Anew, so that a line that was cut off is gone before the next one is written.
        with replacing(path) as made:
            made.write_text("".join(f"{_json(line)}\n" for line in kept), encoding="utf-8")
        self._file: TextIO = path.open("a", encoding="utf-8")

    def hear(self, raw: RawExchange, *, seconds: float) -> None:
        """Redact, write, remember: in this order, so that nothing is judged that is not kept."""
        head = {"probe": self.probe, "level": self.level, "seconds": round(seconds, 3)}
        line = head | redacted_value(self._redactor.exchange(raw))
        self._file.write(f"{_json(line)}\n")
        self._file.flush()
        self.exchanges.append(_exchange(line))

    def of(self, probe: str) -> list[Exchange]:
        return [each for each in self.exchanges if each.probe == probe]

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> tuple[Header, list[Exchange]]:
    """
    Raises:
        DataError: the file is missing, or no recording of this version.
    """
    try:
        lines, cut = _lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    if not lines or lines[0].get("kind") != KIND:
        raise DataError(f"{path} is not a recording of vlm-runner verify.")
    if lines[0].get("format") != FORMAT:
        raise DataError(
            f"{path} is a recording of format {one_line(str(lines[0].get('format')), 40)}, and this version "
            f"reads {FORMAT}."
        )
    try:
        head = lines[0]
        header = Header(
            str(head["date"]), str(head["region"]), dict(head["versions"]), dict(head.get("given", {}))
        )
        found = [_exchange(line) for line in lines[1:]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{path} has a line that is not an exchange ({one_line(repr(error), 200)})."
        ) from error
    if cut:
        raise DataError(f"{path} ends in the middle of a line.", hint="Continue that verification first.")
    return header, found


def _lines(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """All whole lines, and whether one was cut off at the end."""
    text = path.read_text(encoding="utf-8")
    whole, _, rest = text.rpartition("\n")
    lines = []
    for line in whole.splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise DataError(f"{path} has a line that is not a JSON object.")
        lines.append(found)
    return lines, bool(rest)


def _exchange(line: Mapping[str, Any]) -> Exchange:
    return Exchange(
        probe=str(line["probe"]),
        level=int(line["level"]),
        seconds=float(line["seconds"]),
        service=str(line["service"]),
        operation=str(line["operation"]),
        request=dict(line["request"]),
        status=int(line["status"]),
        code=None if line["code"] is None else str(line["code"]),
        message=None if line["message"] is None else str(line["message"]),
        answer=dict(line["answer"]),
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=str)
