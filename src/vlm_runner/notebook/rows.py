"""The data of a spec, looked at from a notebook; AWS is needed only for data in S3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_runner.data_source import images_of, lint_opened, open_for, row_of
from vlm_runner.models import load_catalogue
from vlm_runner.settings import Settings

if TYPE_CHECKING:
    from vlm_runner.json_output import PreviewJson
    from vlm_runner.lint import LintReport
    from vlm_runner.spec import RunSpec


@dataclass(frozen=True, slots=True)
class RowPreview:
    """One row as the model will learn it."""

    shown: PreviewJson
    images: tuple[bytes, ...]
    """As the dataset has them."""


def lint(spec: RunSpec, settings: Settings | None = None) -> LintReport:
    """
    Check every row of the spec's dataset. Blocks, and may download.

    Raises:
        ConfigurationError, DataError: the data cannot be opened, or the templates do not parse.
    """
    settings = settings or Settings.from_environment()
    profile = load_catalogue(settings.catalogue).find(spec.model.base)
    return lint_opened(open_for(spec, settings), spec, profile, settings)


def preview(
    spec: RunSpec, row: int = 0, settings: Settings | None = None, *, validation: bool = False
) -> RowPreview:
    """
    One row, from 0, with its image, its texts and what lint finds in it. Blocks, and may download.

    Raises:
        UsageError: there is no such row.
        ConfigurationError, DataError: the data cannot be opened, or the row cannot be read.
    """
    from vlm_runner.lint.one_row import rendered  # noqa: PLC0415 - reads images

    settings = settings or Settings.from_environment()
    profile = load_catalogue(settings.catalogue).find(spec.model.base)
    found, subset = row_of(open_for(spec, settings), row, validation=validation)
    return RowPreview(rendered(found, subset, spec, profile), images_of(found, subset))
