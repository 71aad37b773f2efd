"""How the dataset of a spec is opened, linted and looked at, by whatever does."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, TypedDict

from vlm_runner.dataset.images import NoImageError
from vlm_runner.dataset.in_place import bytes_of
from vlm_runner.errors import RowError, UsageError
from vlm_runner.prompts.templates import compile_prompt, images_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm_runner.dataset.buckets import ObjectReader
    from vlm_runner.dataset.rows import Opened, Row, Subset
    from vlm_runner.lint import LintReport
    from vlm_runner.models import ModelProfile
    from vlm_runner.settings import Settings
    from vlm_runner.spec import RunSpec


def open_for(spec: RunSpec, settings: Settings, *, revision: str | None = None) -> Opened:
    """
    Open the dataset of `spec`, at `revision` if one is pinned. Blocks, and may download.

    Raises:
        ConfigurationError, DataError: it cannot be opened, or lacks a column that the templates need.
    """
    from vlm_runner.dataset.source import open_dataset  # noqa: PLC0415 - 1.5 s of CPU

    dataset = spec.dataset if revision is None else spec.dataset.model_copy(update={"revision": revision})
    image = images_in(spec.prompt.preset, dataset.columns.messages)
    if image is not None and dataset.columns.image is None:
        columns = dataset.columns.model_copy(update={"image": image})
        dataset = dataset.model_copy(update={"columns": columns})
    required = compile_prompt(spec.prompt, dataset.columns).columns & {"html", "output"}
    return open_dataset(dataset, **access(settings, spec.aws.region), required=required)


class Access(TypedDict):
    """With what `vlm_runner.dataset` reads what is not on this machine."""

    token: str | None
    endpoint: str | None
    s3: ObjectReader


def access(settings: Settings, region: str | None = None) -> Access:
    """Of this process: the Hub's token, and the AWS credentials of the run; `region` is the spec's."""
    from vlm_runner.aws.reading import S3Reader  # noqa: PLC0415 - not for who only reads rows

    token = settings.hf_token.get_secret_value() if settings.hf_token is not None else None
    reader = S3Reader(
        region=settings.region or region, profile=settings.profile, endpoint_url=settings.endpoint_url
    )
    return {"token": token, "endpoint": settings.hf_endpoint, "s3": reader}


def lint_opened(
    opened: Opened,
    spec: RunSpec,
    profile: ModelProfile,
    settings: Settings,
    *,
    progress: Callable[[int], None] | None = None,
) -> LintReport:
    """Lint every row as of today. Blocks; `progress` is called with the number of rows done."""
    from vlm_runner.lint import lint_dataset  # noqa: PLC0415 - not for who only opens
    from vlm_runner.models import load_catalogue  # noqa: PLC0415

    return lint_dataset(
        opened,
        spec,
        profile,
        today=dt.datetime.now(dt.UTC).date(),
        catalogue=load_catalogue(settings.catalogue),
        region=settings.region,
        metric_modules=settings.metric_modules,
        progress=progress,
    )


def row_of(opened: Opened, number: int, *, validation: bool) -> tuple[Row, Subset]:
    """
    One row, from 0, of the training rows or of those that are held out.

    Raises:
        UsageError: there is no such row.
        RowError: it cannot be read.
    """
    subset = opened.validation if validation else opened.train
    if subset is None:
        raise UsageError("The spec holds no rows out.", hint="Ask for a training row.")
    if not 0 <= number < subset.num_rows:
        raise UsageError(f"Row {number} does not exist: {subset.name} has {subset.num_rows}, from 0.")
    found = next(subset.scan(number, number + 1))
    if isinstance(found, RowError):
        raise found
    return found, subset


def images_of(row: Row, subset: Subset) -> tuple[bytes, ...]:
    """
    As the dataset has them; those that stay in S3 are read. Blocks.

    Raises:
        RowError: one is gone, or may not be read.
    """
    try:
        return tuple(map(bytes_of, row.images))
    except NoImageError as error:
        field = subset.layout.image.text
        raise RowError(subset.name, row.index, field, str(error), code=error.code) from error
