"""What `lint` does: rows and images against the model's rules, and how findings are shown."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from anyio.from_thread import start_blocking_portal

from vlm_runner.aws.session import AwsSession
from vlm_runner.cli import console
from vlm_runner.cli.options import Where
from vlm_runner.cli.resolve import settings_for
from vlm_runner.data_source import lint_opened, open_for
from vlm_runner.dataset.downloads import listening
from vlm_runner.errors import ConfigurationError, NotFound, UsageError
from vlm_runner.image_limits import MAX_SOURCE_BYTES
from vlm_runner.lint import RULES, Severity, lint_jsonl
from vlm_runner.lint.fix import fixes, rewritten
from vlm_runner.lint.jsonl import Lines
from vlm_runner.lint.rows import order
from vlm_runner.lint.sarif import sarif
from vlm_runner.models import load_catalogue
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vlm_runner.json_output import LintJson
    from vlm_runner.lint import Finding, LintReport
    from vlm_runner.models import Catalogue, ModelProfile
    from vlm_runner.settings import Settings

SHOWN = 5
"""Findings of one code that the table shows; --json and --sarif have all."""


def lint_source(
    source: str,
    model: str | None,
    validation: str | None,
    images: str | None,
    *,
    fix: bool,
    every: bool,
    sarif: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    where = Where(**flags)
    settings = settings_for(where)
    catalogue = load_catalogue(settings.catalogue)
    fixed: list[str] = []
    if model is None and source.endswith(".jsonl"):
        raise UsageError("A JSONL file does not say which model it is for.", hint="Give --model ID.")
    if model is not None:
        if fix:
            raise UsageError("--fix edits a spec, and this is not one.")
        report = lint_file(source, validation, images, catalogue.find(model), settings)
    else:
        report, fixed = lint_spec(source, where, catalogue, fix=fix)
    _show(report, source, fixed, lines=model is not None, every=every, sarif_file=sarif, as_json=as_json)
    sys.exit(3 if report.failed else 0)


def lint_spec(source: str, where: Where, catalogue: Catalogue, *, fix: bool) -> tuple[LintReport, list[str]]:
    """The report, after fixing if asked to; and what was fixed."""
    path = Path(source)
    spec = RunSpec.from_toml(path)
    profile = catalogue.find(spec.model.base)
    report = lint_rows(spec, profile, settings_for(where, spec_region=spec.aws.region))
    found = list(fixes(report, profile)) if fix else []
    if not found:
        return report, []
    path.write_bytes(rewritten(path.read_bytes().decode(), found).encode())  # line ends stay as they are
    spec = RunSpec.from_toml(path)
    return lint_rows(spec, profile, settings_for(where, spec_region=spec.aws.region)), list(map(str, found))


def lint_rows(spec: RunSpec, profile: ModelProfile, settings: Settings) -> LintReport:
    """Open the dataset and lint it, with a line of progress on a terminal."""
    with _downloading():
        opened = open_for(spec, settings)
    rows = opened.train.num_rows + (opened.validation.num_rows if opened.validation is not None else 0)
    with _counting(rows) as progress:
        return lint_opened(opened, spec, profile, settings, progress=progress)


@contextmanager
def _downloading() -> Iterator[None]:
    """A line for what is downloaded, on a terminal."""
    if not sys.stderr.isatty():
        yield
        return

    def show(file: str, size: int, seconds: float) -> None:  # noqa: ARG001 - the line has no more room
        click.echo(f"\rDownloaded {size / 1e6:,.1f} MB", nl=False, err=True)

    with listening(show):
        yield
    click.echo("\r" + " " * 50 + "\r", nl=False, err=True)


def _counting(rows: int) -> Any:
    @contextmanager
    def counting() -> Iterator[Callable[[int], None] | None]:
        if not sys.stderr.isatty():
            yield None
            return

        def show(done: int) -> None:
            if done % 100 == 0 or done == rows:
                click.echo(f"\rLooked at {done:,} of {rows:,} rows", nl=False, err=True)

        yield show
        click.echo("\r" + " " * 50 + "\r", nl=False, err=True)

    return counting()


def lint_file(
    source: str, validation: str | None, images: str | None, profile: ModelProfile, settings: Settings
) -> LintReport:
    """Lint JSONL files; AWS is only imported if one of them, or the images, are there."""
    names = [name for name in (source, validation) if name]
    remote = images == "s3" or (images is None and source.startswith("s3://"))
    if remote or any(name.startswith("s3://") for name in names):
        return _with_s3(names, profile, settings, images=images, read_images=remote)
    return _lint_lines([_local(name) for name in names], profile, _folder(images), None)


def _folder(images: str | None) -> Callable[[str, str], bytes | None] | None:
    if images is None or images in {"none", "s3"}:
        return None
    root = Path(images).resolve()
    if not root.is_dir():
        raise UsageError(f"Folder not found: {images}.")

    def fetch(_: str, key: str) -> bytes | None:
        try:
            path = (root / key).resolve()
            if not path.is_relative_to(root) or not path.is_file():
                return None
            with path.open("rb") as file:
                return file.read(MAX_SOURCE_BYTES + 1)
        except (OSError, ValueError):
            return None  # no name that a file can have, or none that may be read

    return fetch


def _local(name: str) -> Lines:
    path = Path(name)
    try:
        return Lines(name=name, bucket=None, stream=path.open("rb"), subset=_stem(path))
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}.") from None


def _stem(path: Path) -> str:
    return path.name.removesuffix(".jsonl") or "train"


def _lint_lines(
    files: list[Lines],
    profile: ModelProfile,
    fetch: Callable[[str, str], bytes | None] | None,
    account: str | None,
) -> LintReport:
    try:
        return lint_jsonl(files, profile, fetch=fetch, account=account)
    finally:
        for file in files:
            file.stream.close()


def _with_s3(
    names: list[str], profile: ModelProfile, settings: Settings, *, images: str | None, read_images: bool
) -> LintReport:
    """Objects are read on an event loop in a thread of its own; the rules run in others."""
    if settings.region is None:
        raise ConfigurationError("No AWS region.", hint=f"Use --region {profile.regions[0]}.")
    session = AwsSession(region=settings.region, profile=settings.profile, endpoint_url=settings.endpoint_url)

    async def read(bucket: str, key: str) -> bytes | None:
        try:
            found = await session.objects(bucket, owner=None).get(key, most=MAX_SOURCE_BYTES)
        except NotFound:
            return None  # not even the bucket is there: of one record, and no reason to check no other
        return None if found is None else found.body

    async def download(bucket: str, key: str, into: Any) -> None:
        async for chunk in session.objects(bucket, owner=None).read(key):
            into.write(chunk)

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(session):

        def fetch(bucket: str, key: str) -> bytes | None:
            return portal.call(read, bucket, key)

        def opened(name: str) -> Lines:
            if not name.startswith("s3://"):
                return _local(name)
            bucket, _, key = name.removeprefix("s3://").partition("/")
            if not key:
                raise UsageError(f"'{name}' names no object.")
            stream = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _lint_lines
            portal.call(download, bucket, key, stream)
            stream.seek(0)
            subset = key.rpartition("/")[2].removesuffix(".jsonl") or "train"
            return Lines(name=name, bucket=bucket, stream=stream, subset=subset)

        files = [opened(name) for name in names]
        account = portal.call(session.account.caller).account
        return _lint_lines(files, profile, fetch if read_images else _folder(images), account)


def _show(
    report: LintReport,
    source: str,
    fixed: list[str],
    *,
    lines: bool,
    every: bool,
    sarif_file: str | None,
    as_json: bool,
) -> None:
    if sarif_file is not None:
        log = sarif(report, version=version("vlm-runner"), uri=source, lines=lines)
        if sarif_file == "-":
            console.result_json(log)
            return
        Path(sarif_file).write_text(json.dumps(log, ensure_ascii=False, indent=1), encoding="utf-8")
    for line in fixed:
        console.say(f"Wrote into the spec: {line}")
    if as_json:
        shown: LintJson = {**report.as_json(), "fixed": fixed}
        console.result_json(shown)
    else:
        console.result(table(report, every=every))


def table(report: LintReport, *, every: bool = False) -> str:
    """Findings by code, the worst first, each code with its rule and its fix."""
    groups: dict[tuple[str, Severity], list[Finding]] = {}
    for finding in sorted(report.findings, key=order):
        groups.setdefault((finding.code, finding.severity), []).append(finding)
    lines = []
    for (code, severity), found in groups.items():
        lines.append(f"{severity.value:<8}{code}  {RULES[code].title} ({len(found)})")
        shown = found if every else found[:SHOWN]
        lines += [f"          {finding.where or 'spec'}: {finding.message}" for finding in shown]
        if len(found) > SHOWN and not every:
            lines.append(f"          … and {len(found) - SHOWN:,} more; see --all or --json")
        lines += [f"          why: {found[0].why}", f"          fix: {found[0].fix}"]
    tally = {severity.value: report.count(severity) for severity in Severity}
    counts = ", ".join(f"{count:,} {word}{'s' * (count != 1)}" for word, count in tally.items())
    for name, census in report.census.items():
        lines.append(
            f"{name}: {census.rows:,} rows, {census.images:,} images, {census.image_bytes:,} bytes, "
            f"about {census.tokens:,} tokens (longest record {census.longest:,})"
        )
    lines.append(f"{report.model}: {counts}.")
    return "\n".join(lines)
