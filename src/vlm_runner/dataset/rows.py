"""Rows as they come out of a dataset: undecoded, in order, a few at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vlm_runner.dataset.columns import Layout, output_value
from vlm_runner.dataset.fingerprint import digest_of, digest_of_rows
from vlm_runner.dataset.images import NoImageError, images_of
from vlm_runner.errors import RowError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from vlm_runner.dataset.pages import MappedPages

BATCH = 16
"""Rows read at once: with images of the largest size that Bedrock takes, still a bounded memory."""

Table = Any
"""A `datasets.Dataset`, whose import takes too long to name its type."""


@dataclass(frozen=True, slots=True)
class Row:
    index: int
    """The row's number in its subset, from 0, without gaps: what keys are made of."""
    source_index: int
    """The row's number in the dataset's own split."""
    image: bytes
    """As the dataset holds it: not decoded, not checked."""
    image_path: str | None
    fields: Mapping[str, Any]
    """
    All columns but images by their names, and `html` and `output` by those; output is normalised.

    `image_count`, unless a column has that name, is how many images the row has.
    """
    more: tuple[tuple[bytes, str | None], ...] = ()
    """Images after the first and their paths, where the column holds a list of them."""

    @property
    def images(self) -> tuple[bytes, ...]:
        return (self.image, *(body for body, _ in self.more))


@dataclass(frozen=True, slots=True)
class Subset:
    """
    Rows of one split, opened. Reading blocks: call it in a worker thread.

    `fingerprint` (SHA-256, hex) identifies the rows' content and choice; equal files have equal ones.
    """

    name: str
    num_rows: int
    fingerprint: str
    revision: str | None
    """The Hub's commit; None for local data."""
    columns: tuple[str, ...]
    layout: Layout
    split: str
    """The dataset's own split that the rows come from."""
    _images: Table
    _texts: Table
    _pages: MappedPages
    _rows: Sequence[int]
    _root: Path | None

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """
        The rows from `start` to before `stop`, in order, a small batch of them in memory.

        Raises:
            RowError: a row has no image. Its `row` is the row's index: the next one can be read from there.
        """
        for row in self.scan(start, stop):
            if isinstance(row, RowError):
                raise row
            yield row

    def scan(self, start: int = 0, stop: int | None = None) -> Iterator[Row | RowError]:
        """As `rows`, but a row that cannot be used is given as its error, and the next one follows."""
        end = self.num_rows if stop is None else stop
        if not 0 <= start <= end <= self.num_rows:
            raise ValueError(f"rows {start} to {end} are not within the {self.num_rows} of {self.name}")
        for first in range(start, end, BATCH):
            yield from self._batch(range(first, min(first + BATCH, end)))

    def _batch(self, indices: range) -> Iterator[Row | RowError]:
        sources = self._rows[indices.start : indices.stop]
        at = slice(sources.start, sources.stop) if isinstance(sources, range) else list(sources)
        images = self._images[at].column(0)
        texts = self._texts[at] if self._texts.column_names else {}
        for place, (index, source) in enumerate(zip(indices, sources, strict=True)):
            try:
                (image, path), *more = images_of(images[place].as_py(), self._root)
            except NoImageError as error:
                yield self._row_error(index, source, error)
                continue
            fields = {name: values[place] for name, values in texts.items()}
            self._pages.count(
                len(image)
                + sum(len(body) for body, _ in more)
                + sum(len(text) for text in fields.values() if isinstance(text, str))
            )
            fields.setdefault("image_count", 1 + len(more))
            yield Row(index, source, image, path, self._canonical(fields), tuple(more))

    def _canonical(self, fields: dict[str, Any]) -> dict[str, Any]:
        if self.layout.html is not None:
            fields["html"] = fields[self.layout.html]
        if self.layout.output is not None:
            fields["output"] = output_value(fields[self.layout.output])
        return fields

    def _row_error(self, index: int, source: int, error: NoImageError) -> RowError:
        reason = str(error)
        if (self.name, index) != (self.split, source):
            reason = f"{reason} (row {source} of the dataset's split '{self.split}')"
        hint = 'Give the row its image, or set on_bad_row = "skip" under [dataset].'
        return RowError(self.name, index, self.layout.image, reason, hint=hint, code=error.code)

    def narrowed(self, rows: Sequence[int], *, name: str | None = None) -> Subset:
        """Only these of the dataset's rows, under `name` or as before, with their own fingerprint."""
        layout = [self.layout.image, self.layout.html, self.layout.output]
        fingerprint = digest_of(self.fingerprint, digest_of_rows(rows), layout)
        return replace(self, name=name or self.name, num_rows=len(rows), fingerprint=fingerprint, _rows=rows)

    def chosen(self, indices: Sequence[int], *, name: str | None = None) -> Subset:
        """Only these of this subset's own rows."""
        return self.narrowed([self._rows[index] for index in indices], name=name)

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns that hold no images."""
        return tuple(self._texts.column_names)

    def cells(self, column: str) -> list[Any]:
        """One column of all rows, in order."""
        at = slice(self._rows.start, self._rows.stop) if isinstance(self._rows, range) else list(self._rows)
        return list(self._texts.select_columns([column])[at][column])

    def keys(self) -> list[list[str]]:
        """Of each row digests of its images and of its HTML, by which two rows are known to hang together."""
        return [_keys(row) for row in self.scan()]


def _keys(row: Row | RowError) -> list[str]:
    if isinstance(row, RowError):
        return []
    html = row.fields.get("html")
    page = [digest_of("html", html)] if isinstance(html, str) and html.strip() else []
    return [*(hashlib.sha256(image).hexdigest() for image in row.images), *page]


@dataclass(frozen=True, slots=True)
class Opened:
    train: Subset
    validation: Subset | None
    revision: str | None
    fingerprint: str
    """Over both subsets."""
