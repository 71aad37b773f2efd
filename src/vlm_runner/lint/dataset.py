"""Lint what a spec names: every row of its dataset, as the run would send it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from vlm_runner import preflight
from vlm_runner.dataset.in_place import InPlace, content_of, size_of
from vlm_runner.errors import RowError
from vlm_runner.ingest.converters import Converters
from vlm_runner.ingest.images import Examined, Handling, examine, limits_of, size_defects
from vlm_runner.ingest.in_place import examine_in_place
from vlm_runner.ingest.inspect import ImageDefect, inspect, inspect_ends
from vlm_runner.lint.finding import LintReport, Location, Severity, SubsetStats
from vlm_runner.lint.images import MENDED_BY_FIT, defect, notes, too_large_for_a_call, very_small
from vlm_runner.lint.parallel import each
from vlm_runner.lint.rows import Identity, Relations, check_counts, digest
from vlm_runner.lint.rules import problem_found, rule
from vlm_runner.lint.texts import check_text
from vlm_runner.lint.tokens import CHARACTERS_A_TOKEN, text_tokens
from vlm_runner.models import load_catalogue
from vlm_runner.prompts.templates import compile_prompt

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Collection, Iterator

    from vlm_runner.dataset.in_place import Picture
    from vlm_runner.dataset.rows import Opened, Row, Subset
    from vlm_runner.ingest.images import Convert, ImageLimits
    from vlm_runner.lint.finding import Finding
    from vlm_runner.models import Catalogue, ModelProfile
    from vlm_runner.prompts.problem import RenderProblem
    from vlm_runner.prompts.templates import Prompt
    from vlm_runner.spec import RunSpec

NEARLY = 0.85
"""Of the token limit: above it an estimate may be wrong."""
TEST_ROWS = 64
WILL_BE_SKIPPED = "The row will be skipped, as on_bad_row says."
RESERVED = "T220"
"""Staging refuses such a row too, though `strip` saves it."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One row, looked at."""

    row: int
    findings: tuple[Finding, ...]
    identity: Identity | None = None
    size: int = 0
    converted: int = 0
    """Of its images, how many staging will convert."""
    text_tokens: int = 0
    image_tokens: int = 0
    prompt_tokens: int = 0
    images: int = 1
    in_place: int = 0
    """Of its images, how many are not uploaded."""
    in_place_bytes: int = 0


def lint_dataset(
    opened: Opened,
    spec: RunSpec,
    profile: ModelProfile,
    *,
    today: dt.date | None,
    catalogue: Catalogue | None = None,
    region: str | None = None,
    metric_modules: Collection[str] = (),
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> LintReport:
    """
    Every finding about the dataset of `spec`, in one pass, in flat memory. Blocks.

    `progress` is called with the number of rows done. `today` judges the model's lifecycle; None where
    Bedrock itself has been asked. `catalogue`: the one that `profile` is from; default: the package's.
    `metric_modules`: see Settings.

    Raises:
        ConfigurationError: the templates do not parse.
    """
    prompt = compile_prompt(spec.prompt, spec.dataset.columns)
    report = LintReport(model=profile.base_id, source=spec.dataset.source)
    report.findings += check_spec(
        spec,
        profile,
        today=today,
        region=region,
        catalogue=catalogue or load_catalogue(),
        metric_modules=metric_modules,
    )
    relations, done = Relations(), 0
    bad_rows = spec.dataset.bad_rows
    with Converters() as converters:
        for subset, held_out in ((opened.train, False), (opened.validation, True)):
            if subset is None:
                continue
            stats = report.census[subset.name] = SubsetStats()
            work = partial(
                _check, subset=subset, spec=spec, profile=profile, prompt=prompt, convert=converters
            )
            for checked in each(subset.scan(), work, threads=threads):
                report.findings += map(_skipped, checked.findings) if bad_rows.skip else checked.findings
                if checked.identity is not None:
                    report.findings += relations.check(
                        checked.identity, subset=subset.name, row=checked.row, held_out=held_out
                    )
                count(stats, checked)
                done += 1
                if progress is not None:
                    progress(done)
            if (reason := bad_rows.too_many(stats.rows - stats.usable)) is not None:
                report.findings.append(rule("D412").found(reason, Location(subset.name)))
    report.findings = _each_template_once(report.findings)
    report.findings += relations.check_answers(opened.train.name)
    report.findings += check_counts(
        report,
        profile,
        train=opened.train.name,
        validation=opened.validation.name if opened.validation is not None else None,
        skip=bad_rows.skip,
    )
    report.findings += _advice(spec, profile, report.census[opened.train.name].usable)
    return report


def _skipped(finding: Finding) -> Finding:
    """With on_bad_row = "skip", a row that staging refuses is left out, and does not fail the run."""
    refused = finding.fixes == "skip" or finding.code in {*MENDED_BY_FIT, RESERVED}
    if not refused or finding.severity is not Severity.ERROR:
        return finding
    return replace(finding, severity=Severity.WARNING, fix=WILL_BE_SKIPPED)


def count(stats: SubsetStats, checked: Checked) -> None:
    stats.rows += 1
    if any(finding.severity is Severity.ERROR for finding in checked.findings):
        return
    stats.usable += 1
    stats.images += checked.images
    stats.image_bytes += checked.size
    stats.converted += checked.converted
    stats.in_place += checked.in_place
    stats.in_place_bytes += checked.in_place_bytes
    stats.text_tokens += checked.text_tokens
    stats.image_tokens += checked.image_tokens
    stats.longest = max(stats.longest, checked.text_tokens + checked.image_tokens)
    if len(stats.prompt_tokens) < TEST_ROWS:
        stats.prompt_tokens.append(checked.prompt_tokens)


def check_spec(
    spec: RunSpec,
    profile: ModelProfile,
    *,
    today: dt.date | None,
    region: str | None,
    catalogue: Catalogue,
    metric_modules: Collection[str] = (),
) -> Iterator[Finding]:
    """What the spec alone shows."""
    problems = [*preflight.spec_problems(spec, profile, metric_modules)]
    if today is not None:
        problems += preflight.lifecycle_problems(profile, catalogue, today)
    if region is not None:
        problems += preflight.region_problems(profile, region)
    return (problem_found(problem, Location(field=problem.field)) for problem in problems)


def _advice(spec: RunSpec, profile: ModelProfile, rows: int) -> Iterator[Finding]:
    advice, given = profile.advice, spec.training.hyperparameters.get("epochCount", "")
    if advice is None or not given.isdecimal():
        return
    most = 2 if rows <= advice.two_epochs_up_to_records else 1
    if advice.duplicate_below_records <= rows and int(given) > most:
        yield rule("S508").found(
            f"epochCount is {given}; {most} is advised for {rows:,} records",
            Location(field="training.hyperparameters.epochCount"),
            source=advice.source_of("two_epochs_up_to_records"),
        )


def _check(
    row: Row | RowError,
    *,
    subset: Subset,
    spec: RunSpec,
    profile: ModelProfile,
    prompt: Prompt,
    convert: Convert,
) -> Checked:
    if isinstance(row, RowError):
        found = rule(row.code or "I106").found(
            row.reason, Location(subset.name, row.row, row.field), fixes="skip"
        )
        return Checked(row.row or 0, (found,))
    look = _RowCheck(row, subset, spec, profile, convert)
    return look.record(prompt, look.images())


class _RowCheck:
    """Checks one row, and collects its findings."""

    def __init__(
        self, row: Row, subset: Subset, spec: RunSpec, profile: ModelProfile, convert: Convert
    ) -> None:
        self._row, self._subset, self._spec, self._profile = row, subset, spec, profile
        self._convert = convert
        self._found: list[Finding] = []

    def _add(self, code: str, message: str, field: str, **more: Any) -> None:
        self._found.append(
            rule(code).found(message, Location(self._subset.name, self._row.index, field), **more)
        )

    def _column(self, role: Literal["html", "output"]) -> str:
        path = getattr(self._subset.layout, role)
        return role if path is None else path.text

    def images(self) -> tuple[Examined, ...] | None:
        """What staging will do with its images; None where one of them cannot be used."""
        row, column, most = self._row, self._subset.layout.image.text, self._profile.images.per_record
        if len(row.images) > most:
            self._add(
                "I105",
                f"{len(row.images)} images; {self._profile.name} takes {most} a record",
                column,
                source=self._profile.images.source_of("per_record"),
                fixes="skip",
            )
        paths = (row.image_path, *(path for _, path in row.more))
        found = [
            self._image(image, path, f"{column}[{place}]" if row.more else column)
            for place, (image, path) in enumerate(zip(row.images, paths, strict=True))
        ]
        whole = tuple(examined for examined in found if examined is not None)
        return whole if len(whole) == len(found) else None

    def _image(self, image: Picture, path: str | None, field: str) -> Examined | None:
        images, limits = self._spec.images, limits_of(self._profile)
        at = Location(self._subset.name, self._row.index, field)
        try:
            if isinstance(image, InPlace):
                examined = examine_in_place(image, limits, fit=images.fit, convert=self._convert)
            else:
                examined = examine(
                    image, limits, keep_format=images.format == "keep", fit=images.fit, convert=self._convert
                )
        except ImageDefect as error:
            self._found += [defect(one, self._profile, at) for one in _all_defects(error, image, limits)]
            return None
        self._found += notes(examined.facts, path, at)
        self._found += too_large_for_a_call(examined.facts, size_of(image), self._profile, at)
        self._found += very_small(examined.facts, self._profile, at)
        return examined

    def record(self, prompt: Prompt, images: tuple[Examined, ...] | None) -> Checked:
        attempt = prompt.attempt(self._row.fields, len(self._row.images))
        for problem in attempt.problems:
            self._render_problem(problem)
        for name, text in attempt.texts:
            at = Location(self._subset.name, self._row.index, name)
            self._found += check_text(text, self._profile, at)
        self._values(prompt)
        words = sum(text_tokens(text) for _, text in attempt.texts)
        pixels = sum(map(self._pixels, images or ()))
        rendered = attempt.rendered
        answers = () if rendered is None else rendered.conversation.turns[1::2]
        if images is not None:
            self._tokens(words, pixels)
            for answer in answers:
                self._answer(answer.text)
        identity = None
        if images is not None and rendered is not None:
            pictures = tuple(digest(content_of(image)) for image in self._row.images)
            asked_of = rendered.conversation.question
            question = digest(*pictures, asked_of.system or "", *(turn.shown for turn in asked_of.turns))
            identity = Identity(pictures, question, digest(rendered.assistant))
        left = [
            size_of(image)
            for image, examined in zip(self._row.images, images or (), strict=False)
            if examined.way is Handling.IN_PLACE
        ]
        asked = words - (0 if rendered is None else text_tokens(rendered.assistant))
        return Checked(
            row=self._row.index,
            findings=tuple(self._found),
            identity=identity,
            size=sum(map(size_of, self._row.images)),
            converted=sum(image.way is Handling.CONVERTED for image in images or ()),
            text_tokens=words,
            image_tokens=pixels,
            prompt_tokens=asked + pixels,
            images=len(self._row.images),
            in_place=len(left),
            in_place_bytes=sum(left),
        )

    def _pixels(self, examined: Examined) -> int:
        facts = examined.facts
        longest = self._profile.images.max_side or self._profile.inference.max_image_side
        scale = min(1.0, longest / max(facts.width, facts.height)) if self._spec.images.fit else 1.0
        return self._profile.image_tokens(max(1, int(facts.width * scale)), max(1, int(facts.height * scale)))

    def _render_problem(self, problem: RenderProblem) -> None:
        fixes = "skip" if problem.of_the_row else None
        self._add(problem.code, problem.reason, problem.field, fixes=fixes, fix=problem.hint)

    def _values(self, prompt: Prompt) -> None:
        fields = self._row.fields
        if "output" in prompt.columns and fields.get("output") == []:
            self._add("T205", "the list of findings is empty", self._column("output"))
        html = fields.get("html")
        if "html" in prompt.columns and html is not None and not isinstance(html, str):
            self._add("T206", f"holds a {type(html).__name__}", self._column("html"))
        for name, what in prompt.not_texts(fields):
            if name != "html":
                self._add("T206", f"holds {what}", self._column("output") if name == "output" else name)

    def _tokens(self, words: int, pixels: int) -> None:
        limit, source = self._profile.tokens.per_record, self._profile.tokens.source_of("per_record")
        total, html = words + pixels, self._row.fields.get("html")
        over = total - limit
        cut = max(0, len(html) - over * CHARACTERS_A_TOKEN) if isinstance(html, str) else 0
        fix = f"Cut {over:,} tokens, about {over * CHARACTERS_A_TOKEN:,} characters"
        fix += f": write {{{{ html[:{cut}] }}}} in the user template." if cut else "."
        pictures = "the image" if not self._row.more else f"{len(self._row.images)} images"
        said = f"about {total:,} tokens ({words:,} of text, {pixels:,} of {pictures}); the limit is {limit:,}"
        if isinstance(html, str) and text_tokens(html) > limit:
            alone = f"the HTML alone has about {text_tokens(html):,} tokens; the limit is {limit:,}"
            room = max(0, limit - (total - text_tokens(html))) * CHARACTERS_A_TOKEN
            shorter = f"Write {{{{ html[:{room}] }}}} in the user template."
            self._add("T232", alone, self._column("html"), source=source, fix=shorter)
        elif over > 0:
            self._add("T230", said, "user", source=source, fix=fix)
        elif total > limit * NEARLY:
            self._add("T231", said, "user", source=source)

    def _answer(self, text: str) -> None:
        most = self._profile.inference.max_output_tokens
        if text_tokens(text) > most:
            self._add(
                "T241",
                f"about {text_tokens(text):,} tokens; the model answers {most:,} at most",
                "assistant",
                source=self._profile.inference.source_of("max_output_tokens"),
            )


def _all_defects(error: ImageDefect, image: Picture, limits: ImageLimits) -> list[ImageDefect]:
    """Staging names the first; of an image that is too large in several ways lint names each."""
    if error.code not in {"I130", "I131", "I132", "I133"}:
        return [error]
    facts = inspect(image) if isinstance(image, bytes) else inspect_ends(image.head, image.tail, image.size)
    if facts is None:
        return [error]
    return size_defects(facts.width, facts.height, size_of(image), limits, fit=False)


def _each_template_once(findings: list[Finding]) -> list[Finding]:
    """A template that names no column of the dataset fails in every row; its first row tells."""
    kept, told = [], set()
    for finding in findings:
        key = (finding.code, finding.field, finding.subset)
        if finding.code in {"S505", "S506"}:
            if key in told:
                continue
            told.add(key)
        kept.append(finding)
    return kept
