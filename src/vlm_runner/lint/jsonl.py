"""Lint records that exist already: a Bedrock JSONL file, and the images it names."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO

from vlm_runner.core.names import IMAGE_URI
from vlm_runner.ingest.images import ANY_SIZE, examine, limits_of, size_defects
from vlm_runner.ingest.inspect import ImageDefect
from vlm_runner.lint.dataset import NEARLY, Checked, count
from vlm_runner.lint.finding import LintReport, Location, Severity, SubsetStats
from vlm_runner.lint.images import defect, too_large_for_a_call, very_small
from vlm_runner.lint.parallel import each
from vlm_runner.lint.rows import Identity, Relations, check_counts, digest
from vlm_runner.lint.rules import rule
from vlm_runner.lint.texts import check_text
from vlm_runner.lint.tokens import CHARACTERS_A_TOKEN, text_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vlm_runner.lint.finding import Finding
    from vlm_runner.models import ModelProfile

LONGEST_LINE = 64 * 1024 * 1024
NAME = re.compile(r"[\w\-/.]+", re.ASCII)
OWNER = re.compile(r"[0-9]{12}")
KEYS = frozenset({"schemaVersion", "system", "messages"})
ROLES = ("user", "assistant")
"""No set: a role of a stranger's file may be a list."""


@dataclass(frozen=True, slots=True)
class Lines:
    """One JSONL file: its name, its bucket where it lies in S3, and its bytes."""

    name: str
    bucket: str | None
    stream: BinaryIO
    subset: str


class _Bad(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def lint_jsonl(
    files: Sequence[Lines],
    profile: ModelProfile,
    *,
    fetch: Callable[[str, str], bytes | None] | None,
    account: str | None = None,
    threads: int | None = None,
) -> LintReport:
    """
    Every finding about a training file and, if given, a validation file. Blocks.

    `fetch` reads an image; None: images are not looked at, and the report says so.
    """
    report = LintReport(model=profile.base_id, source=files[0].name)
    relations = Relations()
    for place, file in enumerate(files):
        stats = report.census[file.subset] = SubsetStats()
        report.findings += _check_name(file)
        work = partial(_check, file=file, profile=profile, fetch=fetch, account=account)
        for checked in each(enumerate(_lines(file.stream)), work, threads=threads):
            report.findings += checked.findings
            if checked.identity is not None:
                report.findings += relations.check(
                    checked.identity, subset=file.subset, row=checked.row, held_out=place > 0
                )
            count(stats, checked)
        if profile.images.in_all_or_none and stats.images:
            report.findings = [_of_another_kind(finding, profile) for finding in report.findings]
        if not stats.rows:
            report.findings.append(rule("J305").found("there is no record", Location(file.subset)))
    if any(stats.rows for stats in report.census.values()):
        report.findings += relations.check_answers(files[0].subset)
        names = [file.subset for file in files]
        report.findings += [
            finding
            for finding in check_counts(
                report, profile, train=names[0], validation=names[1] if len(names) > 1 else None, skip=False
            )
            # The advice about the spec has no place here.
            if finding.code != "D409"
        ]
    if fetch is None:
        report.findings.append(rule("J348").found("no image was looked at", Location(files[0].subset)))
    return report


def _of_another_kind(finding: Finding, profile: ModelProfile) -> Finding:
    """A record without an image beside records with some."""
    if finding.code != "J342":
        return finding
    return rule("J342").found(
        "the record has no image, and others have",
        Location(finding.subset, finding.row, finding.field),
        source=profile.images.source_of("in_all_or_none"),
        severity=Severity.ERROR,
    )


def _check_name(file: Lines) -> Iterator[Finding]:
    if not file.name.endswith(".jsonl"):
        yield rule("J301").found(f"the file is named '{file.name}'", Location(file.subset))
    key = file.name.removeprefix("s3://").partition("/")[2] if file.bucket else file.name.rpartition("/")[2]
    if not NAME.fullmatch(key):
        yield rule("J302").found(f"the file is named '{key}'", Location(file.subset))


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Without their line feeds; a line too long to read comes cut off."""
    while line := stream.readline(LONGEST_LINE + 1):
        yield line
        while line and not line.endswith(b"\n") and len(line) > LONGEST_LINE:
            line = stream.readline(LONGEST_LINE + 1)


def _check(
    item: tuple[int, bytes],
    *,
    file: Lines,
    profile: ModelProfile,
    fetch: Callable[[str, str], bytes | None] | None,
    account: str | None,
) -> Checked:
    checked = _Record(item[0], file, profile, fetch, account)
    try:
        return checked.check(item[1])
    except _Bad as bad:
        checked.add(bad.code, str(bad))
        return Checked(item[0], tuple(checked.found))
    except RecursionError:
        checked.add("J346", "the record is nested too deeply")
        return Checked(item[0], tuple(checked.found))


class _Record:
    """One line."""

    def __init__(
        self,
        row: int,
        file: Lines,
        profile: ModelProfile,
        fetch: Callable[[str, str], bytes | None] | None,
        account: str | None,
    ) -> None:
        self.row, self.file, self.profile, self.fetch, self.account = row, file, profile, fetch, account
        self.found: list[Finding] = []
        self._pictures: list[bytes] = []
        self._texts: list[tuple[str, str]] = []
        self._size = self._image_tokens = self._images = 0

    def add(self, code: str, message: str, field: str | None = None, **more: Any) -> None:
        self.found.append(rule(code).found(message, Location(self.file.subset, self.row, field), **more))

    def check(self, line: bytes) -> Checked:
        record = self._parse(line)
        if "messages" not in record and {"prompt", "completion"} & record.keys():
            raise _Bad("J311", "the record has 'prompt' and 'completion'")
        if not isinstance(record.get("messages"), list):
            raise _Bad("J312", "'messages' is missing or not a list")
        known = KEYS | {"toolConfig"} if self.profile.text.other_blocks else KEYS
        if unknown := sorted(set(record) - known):
            self.add("J339", f"the record has {', '.join(map(repr, unknown))}")
        self._schema(record.get("schemaVersion"))
        self._system(record)
        self._turns(record["messages"])
        return self._whole()

    def _parse(self, raw: bytes) -> dict[str, Any]:
        line = raw.removesuffix(b"\n")
        if len(line) > LONGEST_LINE:
            raise _Bad("J307", f"the line has more than {LONGEST_LINE:,} bytes")
        if line.endswith(b"\r"):
            self.add("J343", "the line ends with CRLF")
        if line.startswith(b"\xef\xbb\xbf"):
            raise _Bad("J304", "the line begins with a byte order mark")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Bad(
                "J303", f"byte {error.start} of the line, {line[error.start]:#x}, is not valid UTF-8"
            ) from None
        if not text.strip():
            raise _Bad("J306", "the line is empty")
        record = self._json(text)
        if not isinstance(record, dict):
            raise _Bad("J310", f"the line holds a {type(record).__name__}")
        return record

    def _json(self, text: str) -> Any:
        twice: list[str] = []

        def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
            read = dict(items)
            if len(read) < len(items):
                names = [name for name, _ in items]
                twice.extend(sorted({name for name in names if names.count(name) > 1}))
            return read

        def constant(name: str) -> Any:
            raise _Bad("J341", f"the record holds {name}")

        try:
            value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
        except _Bad:
            raise
        except ValueError as error:
            if getattr(error, "msg", "") == "Extra data":
                place = getattr(error, "colno", 0)
                raise _Bad("J309", f"a second value begins at character {place}") from None
            raise _Bad("J308", f"{error}".replace("line 1 ", "")) from None
        if twice:
            self.add("J340", f"{', '.join(map(repr, twice))} stands twice in one object")
        return value

    def _schema(self, version: Any) -> None:
        wanted = self.profile.text.schema_version
        if version is None:
            required = self.profile.text.schema_required
            severity = Severity.ERROR if required else Severity.NOTE
            self.add("J313", "'schemaVersion' is missing", "schemaVersion", severity=severity)
        elif version != wanted:
            self.add("J314", f"'schemaVersion' is {repr(version)[:60]}, not '{wanted}'", "schemaVersion")

    def _system(self, record: dict[str, Any]) -> None:
        system, text = record.get("system"), self.profile.text
        if system is None or (text.empty_system and system == []):
            if self.profile.text.system_required:
                self.add(
                    "J347", "there is no system text", "system", source=self.profile.text.source_of("system")
                )
            return
        if not isinstance(system, list) or not system:
            self.add("J315", f"'system' is {_kind(system)}", "system")
        elif len(system) > 1:
            self.add("J316", f"'system' holds {len(system)} items", "system")
        else:
            self._text(system[0], "system", empty="J317", other="J315")

    def _text(self, block: Any, field: str, *, empty: str, other: str) -> None:
        if not isinstance(block, dict) or "text" not in block:
            self.add(other, f"holds {_kind(block)} instead of a text", field)
        elif not isinstance(block["text"], str):
            self.add("J328", f"the text is {_kind(block['text'])}", field)
        elif not block["text"].strip():
            self.add(empty, "the text is empty", field)
        else:
            self._texts.append((field, block["text"]))

    def _turns(self, messages: list[Any]) -> None:
        if not messages:
            raise _Bad("J318", "'messages' is empty")
        roles: list[str] = []
        for place, message in enumerate(messages):
            field = f"messages[{place}]"
            if not isinstance(message, dict):
                self.add("J345", f"the turn is {_kind(message)}", field)
                roles.append("")
                continue
            role = message.get("role")
            if role not in ROLES:
                self.add("J321", f"the role is {role!r}"[:80], field)
            roles.append(str(role))
            self._content(message.get("content"), str(role), field)
        self._order(roles)

    def _order(self, roles: list[str]) -> None:
        if roles[0] == "assistant":
            self.add("J319", "the assistant begins", "messages[0]")
        for place, (before, after) in enumerate(pairwise(roles), start=1):
            if before == after:
                self.add("J320", f"two turns of the {after} follow each other"[:80], f"messages[{place}]")
        if roles[-1] == "user":
            self.add("J322", "the user has the last word", f"messages[{len(roles) - 1}]")

    def _content(self, content: Any, role: str, field: str) -> None:
        if not isinstance(content, list) or not content:
            self.add("J323", f"'content' is {_kind(content)}", f"{field}.content")
            return
        had, other = len(self._texts), False
        for place, block in enumerate(content):
            at = f"{field}.content[{place}]"
            if isinstance(block, dict) and "text" in block:
                self._text(block, at, empty="J327", other="J324")
            elif isinstance(block, dict) and "image" in block:
                if role == "assistant":
                    self.add("J325", "an image in the assistant's turn", at)
                self._image(block["image"], at)
            elif isinstance(block, dict) and block.keys() & set(self.profile.text.other_blocks):
                other = True
            elif isinstance(block, dict) and "video" in block:
                self.add("J344", "the block is a video", at)
            else:
                self.add("J324", f"the block is {_kind(block)}", at)
        if role == "assistant" and len(self._texts) == had and not other:
            self.add("J326", "the answer has no text", f"{field}.content")

    def _image(self, image: Any, field: str) -> None:
        self._images += 1
        at = f"{field}.image"
        if not isinstance(image, dict):
            self.add("J324", f"the image is {_kind(image)}", at)
            return
        formats, declared = self.profile.images.formats, image.get("format")
        if self.profile.text.format_any_case and isinstance(declared, str):
            declared = declared.lower()
        if declared is None:
            self.add("J336", "the image has no format", at)
        elif declared not in formats:
            self.add(
                "J337",
                f"format {declared!r}; {self.profile.name} takes {', '.join(formats)}"[:120],
                at,
                source=self.profile.images.source_of("formats"),
            )
        source = image.get("source")
        location = source.get("s3Location") if isinstance(source, dict) else None
        if not isinstance(location, dict) or not isinstance(location.get("uri"), str):
            self.add("J330", "the image has no source.s3Location.uri", at)
            return
        self._owner(location, at)
        self._object(location["uri"], declared, at)

    def _owner(self, location: dict[str, Any], at: str) -> None:
        owner = location.get("bucketOwner")
        if owner is None:
            return
        if not isinstance(owner, str) or not OWNER.fullmatch(owner):
            self.add("J333", f"bucketOwner is {owner!r}"[:80], at)
        elif self.account is not None and owner != self.account:
            self.add("J334", f"bucketOwner is {owner}, and the account {self.account}", at)

    def _object(self, uri: str, declared: Any, at: str) -> None:
        match = IMAGE_URI.fullmatch(uri)
        if match is None:
            self.add("J331", f"'{uri[:120]}'", at)
            return
        bucket, key = match[1], match[2]
        if self.profile.text.same_bucket and self.file.bucket is not None and bucket != self.file.bucket:
            self.add("J332", f"the image is in {bucket}, the records are in {self.file.bucket}", at)
        if self.fetch is None:
            self._pictures.append(uri.encode())
            return
        body = self.fetch(bucket, key)
        if body is None:
            self.add("J335", f"{uri} cannot be read", at)
            return
        self._picture(body, uri, declared, at)

    def _picture(self, body: bytes, uri: str, declared: Any, at: str) -> None:
        self._pictures.append(digest(body))
        self._size += len(body)
        try:
            # As it is: Bedrock gets the object, and no setting of a spec changes it.
            facts = examine(body, ANY_SIZE, keep_format=True, fit=False).facts
        except ImageDefect as flaw:
            self.add(flaw.code, f"{uri}: {flaw}", at, fix="Replace the object.")
            return
        for code, words in facts.notes:
            self.add(code, f"{uri}: {words}", at, severity=Severity.WARNING, fix="Convert it to a plain PNG.")
        if facts.format not in self.profile.images.formats and declared != facts.format:
            self.add("J337", f"{uri} is {facts.format}", at, source=self.profile.images.source_of("formats"))
        elif declared in self.profile.images.formats and declared != facts.format:
            self.add("J338", f"{uri} is {facts.format}, not {declared}", at)
        where, size = Location(self.file.subset, self.row, at), len(body)
        limits = limits_of(self.profile)
        for found in size_defects(facts.width, facts.height, size, limits, fit=False):
            self.found.append(defect(found, self.profile, where, sent_as_it_is=True))
        self.found += too_large_for_a_call(facts, size, self.profile, where)
        self.found += very_small(facts, self.profile, where)
        self._image_tokens += self.profile.image_tokens(facts.width, facts.height)

    def _whole(self) -> Checked:
        most = self.profile.images.per_record
        if self._images > most:
            self.add(
                "J329",
                f"{self._images} images; {self.profile.name} takes {most}",
                "messages",
                source=self.profile.images.source_of("per_record"),
            )
        if not self._images:
            self.add("J342", "the record has no image", "messages")
        for field, text in self._texts:
            self.found += check_text(text, self.profile, Location(self.file.subset, self.row, field))
        words = sum(text_tokens(text) for _, text in self._texts)
        self._limit(words)
        answers = [text for field, text in self._texts if field.startswith("messages[")][-1:]
        questions = [text for _, text in self._texts[:-1]]
        pictures = tuple(map(digest, self._pictures))
        return Checked(
            row=self.row,
            findings=tuple(self.found),
            identity=Identity(pictures, digest(*pictures, *questions), digest(*answers)),
            size=self._size,
            text_tokens=words,
            image_tokens=self._image_tokens,
            prompt_tokens=words - sum(map(text_tokens, answers)) + self._image_tokens,
            images=self._images,
        )

    def _limit(self, words: int) -> None:
        limit, total = self.profile.tokens.per_record, words + self._image_tokens
        source = self.profile.tokens.source_of("per_record")
        said = f"about {total:,} tokens; the limit is {limit:,}"
        if total > limit:
            over = total - limit
            fix = f"Cut {over:,} tokens, about {over * CHARACTERS_A_TOKEN:,} characters."
            self.add("T230", said, "messages", source=source, fix=fix)
        elif total > limit * NEARLY:
            self.add("T231", said, "messages", source=source)


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, dict):
        return f"an object with {', '.join(map(repr, list(value)[:3])) or 'no keys'}"[:80]
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return {str: "a string", bool: "true or false"}.get(type(value), "a number")
