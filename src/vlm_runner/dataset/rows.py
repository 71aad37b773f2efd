"""Rows as they come out of a dataset: undecoded, in order, a few at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vlm_runner.dataset.ahead import Ahead
from vlm_runner.dataset.cells import without_bytes
from vlm_runner.dataset.columns import Layout, output_value
from vlm_runner.dataset.fingerprint import digest_of, digest_of_rows
from vlm_runner.dataset.images import NoImageError, images_of, named_in
from vlm_runner.dataset.in_place import content_of
from vlm_runner.dataset.table import UnreadableCell
from vlm_runner.errors import RowError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vlm_runner.dataset.downloads import Downloads
    from vlm_runner.dataset.images import Reader
    from vlm_runner.dataset.in_place import Picture
    from vlm_runner.dataset.table import Table

BATCH = 16
"""Rows read at once: with images of the largest size that Bedrock takes, still a bounded memory."""


@dataclass(frozen=True, slots=True)
class Row:
    index: int
    """The row's number in its subset, from 0, without gaps: what keys are made of."""
    source_index: int
    """The row's number in the dataset's own split."""
    image: Picture
    """As the dataset holds it: not decoded, not checked."""
    image_path: str | None
    fields: Mapping[str, Any]
    """
    All columns but images by their names, and `html` and `output` by those; output is normalised.

    `image_count`, unless a column has that name, is how many images the row has.
    """
    more: tuple[tuple[Picture, str | None], ...] = ()
    """Images after the first and their paths, where the column holds a list of them."""

    @property
    def images(self) -> tuple[Picture, ...]:
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
    """The dataset's own split that the rows come from, or the expression of several."""
    texts: tuple[str, ...]
    """The columns that templates can use: those that hold more than images."""
    _table: Table
    _rows: Sequence[int]
    _reader: Reader
    _downloads: Downloads

    @property
    def remote(self) -> bool:
        """Whether reading a row may wait for a network."""
        return isinstance(self._reader, Ahead)

    @property
    def bytes_downloaded(self) -> int:
        """Until now, of the whole dataset; 0 of one on this machine."""
        return self._downloads.bytes

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """
        The rows from `start` to before `stop`, in order, a small batch of them in memory.

        Raises:
            RowError: a row has no image, or cannot be read. Its `row` is the row's index: the next one can be
                read from there.
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
        batches = [range(first, min(first + BATCH, end)) for first in range(start, end, BATCH)]
        if not isinstance(self._reader, Ahead):
            for batch in batches:
                yield from self._batch(batch)
            return
        named = self._named_in(batches[0]) if batches else []
        for place, batch in enumerate(batches, 1):
            next_named = self._named_in(batches[place]) if place < len(batches) else []
            self._reader.expect([*named, *next_named])
            yield from self._batch(batch)
            self._reader.forget(named)
            named = next_named

    def _named_in(self, indices: range) -> list[tuple[str, str | None]]:
        return self._table.owned(self._rows[indices.start : indices.stop], self.layout.image)

    def _batch(self, indices: range) -> Iterator[Row | RowError]:
        sources = self._rows[indices.start : indices.stop]
        image = self.layout.image
        try:
            cells = self._table.read(sources, self.texts)
        except UnreadableCell as error:
            if len(indices) == 1:
                yield self._row_error(indices[0], sources[0], "T214", error.reason, error.field)
                return
            for index in indices:  # the others are as they should be
                yield from self._batch(range(index, index + 1))
            return
        for place, (index, source) in enumerate(zip(indices, sources, strict=True)):
            try:
                # One row's images in memory at a time.
                held = cells.get(image.column)
                value = self._table.cell(source, image.column) if held is None else held[place]
                (body, path), *more = images_of(image.of(value), self._reader)
                fields = self._canonical({name: without_bytes(cells[name][place]) for name in self.texts})
            except NoImageError as error:
                yield self._row_error(index, source, error.code, str(error))
                continue
            except UnreadableCell as error:
                yield self._row_error(index, source, "I106", error.reason)
                continue
            except RecursionError:
                yield self._row_error(index, source, "T214", "is nested too deeply", "row")
                continue
            read = [body, *(body for body, _ in more), *fields.values()]
            self._table.count_read(sum([len(each) for each in read if isinstance(each, bytes | str)]))
            fields.setdefault("image_count", 1 + len(more))
            yield Row(index, source, body, path, fields, tuple(more))

    def _canonical(self, fields: dict[str, Any]) -> dict[str, Any]:
        if self.layout.html is not None:
            fields["html"] = self.layout.html.of(fields[self.layout.html.column])
        if self.layout.output is not None:
            fields["output"] = output_value(self.layout.output.of(fields[self.layout.output.column]))
        return fields

    def _row_error(
        self, index: int, source: int, code: str, reason: str, field: str | None = None
    ) -> RowError:
        if (self.name, index) != (self.split, source):
            reason = f"{reason} (row {source} of the dataset's split '{self.split}')"
        what = "Give the row its image" if field is None else "Repair the row"
        hint = f'{what}, or set on_bad_row = "skip" under [dataset].'
        return RowError(self.name, index, field or self.layout.image.text, reason, hint=hint, code=code)

    def narrowed(self, rows: Sequence[int], *, name: str | None = None) -> Subset:
        """Only these of the dataset's rows, under `name` or as before, with their own fingerprint."""
        layout = [None if path is None else path.text for path in self.layout]
        fingerprint = digest_of(self.fingerprint, digest_of_rows(rows), layout)
        return replace(self, name=name or self.name, num_rows=len(rows), fingerprint=fingerprint, _rows=rows)

    def chosen(self, indices: Sequence[int], *, name: str | None = None) -> Subset:
        """Only these of this subset's own rows."""
        return self.narrowed([self._rows[index] for index in indices], name=name)

    def pinned(self, contents: Sequence[str]) -> Subset:
        """The same rows, known by `contents` (digests) of what they name as well."""
        if not contents:
            return self
        return replace(self, fingerprint=digest_of(self.fingerprint, "fetched", list(contents)))

    def named(self) -> Iterator[str]:
        """The files and addresses that rows name instead of holding their images."""
        for first in range(0, self.num_rows, BATCH):
            rows = self._rows[first : first + BATCH]
            for cell in self._table.read(rows, [self.layout.image.column])[self.layout.image.column]:
                yield from named_in(self.layout.image.of(cell))

    def cells(self, column: str) -> list[Any]:
        """One column of all rows, in order."""
        return self._table.read(self._rows, [column])[column]

    def keys(self) -> list[list[str]]:
        """Of each row digests of its images and of its HTML, by which two rows are known to hang together."""
        return [_keys(row) for row in self.scan()]


def _keys(row: Row | RowError) -> list[str]:
    if isinstance(row, RowError):
        return []
    html = row.fields.get("html")
    page = [digest_of("html", html)] if isinstance(html, str) and html.strip() else []
    return [*(hashlib.sha256(content_of(image)).hexdigest() for image in row.images), *page]


@dataclass(frozen=True, slots=True)
class Opened:
    train: Subset
    validation: Subset | None
    revision: str | None
    fingerprint: str
    """Over both subsets."""
