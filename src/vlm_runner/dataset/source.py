"""Open what a spec names: one or two subsets of rows, undecoded, each with a fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vlm_runner.dataset.addresses import Addresses
from vlm_runner.dataset.ahead import Ahead
from vlm_runner.dataset.buckets import Objects, S3Storage, likeness, open_prefix
from vlm_runner.dataset.cells import has_text, labels_in
from vlm_runner.dataset.columns import choose
from vlm_runner.dataset.downloads import Downloads
from vlm_runner.dataset.fingerprint import FileDigests, digest_of
from vlm_runner.dataset.hub import open_hub
from vlm_runner.dataset.images import NoImageError, is_address, is_object
from vlm_runner.dataset.in_place import content_of
from vlm_runner.dataset.loading import cache_folder, translated
from vlm_runner.dataset.local import (
    describe_file,
    describe_files,
    describe_local,
    format_of,
    refuse_links,
    saved_splits,
)
from vlm_runner.dataset.rows import Opened, Row, Subset
from vlm_runner.dataset.split import divide, sample
from vlm_runner.dataset.storage import LocalStorage
from vlm_runner.dataset.table import Table, is_text
from vlm_runner.dataset.tables import Files, saved_description
from vlm_runner.errors import ConfigurationError, DataError
from vlm_runner.split_expression import parse_split

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from vlm_runner.dataset.buckets import ObjectReader
    from vlm_runner.dataset.columns import Layout
    from vlm_runner.dataset.described import Description
    from vlm_runner.dataset.in_place import Picture
    from vlm_runner.dataset.storage import Storage
    from vlm_runner.spec import DatasetSpec
    from vlm_runner.split_expression import Slice

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class _Source:
    """A dataset found, its splits not yet opened."""

    name: str
    splits: tuple[str, ...]
    table: Callable[[str, int | None], Table]
    """Of a split, as far as its first so many rows need it; None: all of it."""
    identify: Callable[[str], str]
    storage: Storage
    revision: str | None
    downloads: Downloads = field(default_factory=Downloads)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Images that rows only name."""

    storage: Storage
    addresses: Addresses | None
    objects: Objects | None = None
    """Of S3 outside of the storage; None: none are read."""
    elsewhere: bool = False
    """Whether `objects` are read that are not in place too."""
    in_place: tuple[str, ...] = ()
    """See `dataset.images_in_place`."""

    def image(self, path: str) -> Picture:
        if self.in_place and isinstance(self.storage, S3Storage):
            address = self.storage.address_of(path)
            if self.stays(address):
                return self.stored(address, None)
        return self.storage.image(path)

    def fetched(self, address: str) -> bytes:
        if self.addresses is None:
            raise NoImageError("I107", "is an address, and dataset.fetch_images is not set")
        return self.addresses.fetch(address)

    def stored(self, address: str, owner: str | None) -> Picture:
        if self.objects is not None and self.stays(address):
            return self.objects.in_place(address, owner)
        if isinstance(self.storage, S3Storage) and self.storage.holds(address):
            return self.storage.image(address, owner)
        if self.objects is None or not self.elsewhere:
            raise NoImageError(
                "I107",
                "is an S3 address outside of dataset.source and dataset.images_in_place, and "
                "dataset.fetch_images is not set",
            )
        return self.objects.read(address, owner)

    def stays(self, address: str) -> bool:
        """Whether what lies at an `s3://` address is left there."""
        return address.startswith(self.in_place)

    @property
    def pins(self) -> bool:
        """Whether anything is read that the files of the source do not identify."""
        return self.addresses is not None or self.objects is not None

    def identities(self, named: Iterable[str]) -> list[str]:
        """What the addresses among `named` hold, as far as they are read, and which of them stay there."""
        every = list(dict.fromkeys(path for path in named if is_address(path) or is_object(path)))
        found = [] if self.addresses is None else self.addresses.digests(filter(is_address, every))
        objects = [path for path in every if is_object(path) and (self.elsewhere or self.stays(path))]
        found += self.objects.identities(objects) if self.objects is not None else []
        return [*found, "in place", *self.in_place] if self.in_place else found


def open_dataset(
    spec: DatasetSpec,
    *,
    token: str | None = None,
    endpoint: str | None = None,
    cache_dir: Path | None = None,
    required: Collection[str] = ("html", "output"),
    s3: ObjectReader | None = None,
) -> Opened:
    """
    Open the splits that `spec` names. Blocks, and may download: call it in a worker thread.

    `required` are the columns that there must be beside the image, by their roles. `token` and `endpoint` are
    the Hub's; None: as `huggingface_hub` finds them (HF_TOKEN, a login, HF_ENDPOINT). `s3` reads what is in
    S3; None: nothing is.

    Raises:
        ConfigurationError: no such source, config, split or revision, or no right to read it.
        DataError: it is empty, cannot be read, or lacks a column.
    """
    wanted = [(_slices(spec.split, "split"), spec.train_name)]
    if spec.validation_split is not None:
        wanted.append((_slices(spec.validation_split, "validation_split"), spec.validation_name))
    cache = cache_folder(cache_dir)
    source = _find(spec, token=token, endpoint=endpoint, cache=cache, s3=s3)
    for slices, _ in wanted:
        for each in slices:
            _check_there(each.split, source)
    addresses = None
    if spec.fetch_images:
        addresses = Addresses(cache / "vlm-runner" / "fetched", private=spec.private_addresses)
    objects = None
    if s3 is not None and (spec.fetch_images or spec.images_in_place):
        objects = Objects(s3, cache / "vlm-runner" / "s3")
    reader = _Reader(source.storage, addresses, objects, spec.fetch_images, spec.images_in_place)
    remote = source.storage.remote
    ahead = Ahead(reader, files=remote) if remote or objects is not None else None
    subsets = [
        _open_split(source, slices, name, spec=spec, required=required, reader=reader, ahead=ahead)
        for slices, name in wanted
    ]
    if spec.drop_duplicates:
        subsets = [_unique(subset) for subset in subsets]
    if spec.validation_column is not None:
        subsets = _held_by_column(subsets[0], spec, source)
    if spec.validation_fraction is not None:
        subsets = _held_back(subsets[0], spec, source)
    train, validation = subsets[0], subsets[1] if len(subsets) > 1 else None
    fingerprint = digest_of([subset.fingerprint for subset in subsets])
    return Opened(train, validation, source.revision, fingerprint)


@dataclass(frozen=True, slots=True)
class Peek:
    """A few rows of a source, before anything is known about it."""

    splits: tuple[str, ...]
    split: str
    """The one that the rows are from."""
    num_rows: int
    """Of that split; of a remote source at least so many."""
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    """As the source holds them: an image is its bytes and path, or whatever the column has."""
    source: str = ""
    """As the spec has it."""


def peek(
    spec: DatasetSpec,
    rows: int,
    *,
    token: str | None = None,
    endpoint: str | None = None,
    cache_dir: Path | None = None,
    s3: ObjectReader | None = None,
) -> Peek:
    """
    The first `rows` of the split `spec.split`, or of the first split if there is none of that name. Blocks.

    Raises:
        ConfigurationError, DataError: as `open_dataset`, but no column is needed.
    """
    source = _find(spec, token=token, endpoint=endpoint, cache=cache_folder(cache_dir), s3=s3)
    if not source.splits:
        raise DataError(f"{source.name} has no split.")
    split = spec.split if spec.split in source.splits else source.splits[0]
    table = source.table(split, rows)
    cells = table.read(range(min(rows, len(table))), table.columns)
    found = zip(*(cells[column] for column in table.columns), strict=True)
    return Peek(
        source.splits,
        split,
        len(table),
        table.columns,
        tuple(dict(zip(table.columns, row, strict=True)) for row in found),
        spec.source,
    )


def _slices(expression: str, setting: str) -> tuple[Slice, ...]:
    try:
        return parse_split(expression)
    except ValueError as error:
        raise ConfigurationError(f"dataset.{setting}: {error}.") from None


def _check_there(split: str, source: _Source) -> None:
    if split not in source.splits:
        raise ConfigurationError(
            f"{source.name} has no split '{split}'; it has {', '.join(source.splits) or 'none'}.",
            hint="Name one of them in dataset.split or dataset.validation_split.",
        )


def _find(
    spec: DatasetSpec, *, token: str | None, endpoint: str | None, cache: Path, s3: ObjectReader | None
) -> _Source:
    if is_object(spec.source) and s3 is not None:
        return _in_s3(spec, s3, cache)
    if "://" in spec.source:
        raise ConfigurationError(
            f"Reading a dataset from {spec.source.partition('://')[0]}:// is not supported yet.",
            hint="Download it, and give dataset.source the folder.",
        )
    if (path := spec.path) is not None:
        return _local(path, spec, cache)
    if HUB_ID.fullmatch(spec.source) and format_of(spec.source) is None:
        return _hub(spec, token=token, endpoint=endpoint, cache=cache)
    raise ConfigurationError(
        f"File or folder not found: {spec.source}.",
        hint="Set dataset.source to an existing path, or to a dataset on the Hugging Face Hub: owner/name.",
    )


def _hub(spec: DatasetSpec, *, token: str | None, endpoint: str | None, cache: Path) -> _Source:
    downloads = Downloads()
    found = open_hub(
        spec.source,
        spec.revision,
        spec.config,
        token=token,
        endpoint=endpoint,
        cache=cache,
        downloads=downloads,
    )
    config = [] if spec.config is None else [spec.config]
    files = Files(
        f"the dataset {found.repo}", found.storage, found.description, cache / "vlm-runner" / "parts"
    )
    return _Source(
        name=f"The dataset {found.repo}",
        splits=tuple(found.description.splits),
        table=files.table,
        identify=lambda split: digest_of("hub", found.commit, split, *config),
        storage=found.storage,
        revision=found.commit,
        downloads=downloads,
    )


def _local(path: Path, spec: DatasetSpec, cache: Path) -> _Source:
    _refuse_revision(spec, f"{path} is local")
    root = path.parent if path.is_file() else path
    ours = cache / "vlm-runner"
    storage = LocalStorage(root, FileDigests(ours / "digests" / f"{digest_of(str(root))[:32]}.json"))
    if path.is_file():
        return _files(str(path), storage, describe_file(path.name, spec.config), ours)
    refuse_links(path)
    return _folder(str(path), path, storage, spec, cache)


def _in_s3(spec: DatasetSpec, reader: ObjectReader, cache: Path) -> _Source:
    _refuse_revision(spec, f"{spec.source} is in S3")
    ours = cache / "vlm-runner"
    downloads = Downloads()
    storage, name = open_prefix(spec.source, reader, ours, downloads)
    if name is not None:
        found = _files(spec.source, storage, describe_file(name, spec.config), ours)
    elif (folder := likeness(storage, ours)) is not None:
        found = _folder(spec.source, folder, storage, spec, cache)
    else:
        found = _files(spec.source, storage, describe_files(spec.source, storage.files, spec.config), ours)
    return replace(found, downloads=downloads)


def _refuse_revision(spec: DatasetSpec, where: str) -> None:
    if spec.revision is not None:
        raise ConfigurationError(
            f"{where}, and has no revision '{spec.revision}'.", hint="Leave dataset.revision out."
        )


def _folder(name: str, folder: Path, storage: Storage, spec: DatasetSpec, cache: Path) -> _Source:
    """What `folder` says of `storage`: it is that storage, or is like it."""
    ours = cache / "vlm-runner"
    if saved := saved_splits(folder):
        return _saved(name, folder, saved, storage, ours / "parts")
    return _files(name, storage, describe_local(folder, spec.config, cache, name=name), ours)


def _files(name: str, storage: Storage, description: Description, ours: Path) -> _Source:
    def identify(split: str) -> str:
        paths = description.splits[split]
        shown = [path if description.kind == "imagefolder" else "" for path in paths]
        return digest_of(
            "files", split, [list(each) for each in zip(shown, storage.identities(paths), strict=True)]
        )

    table = Files(name, storage, description, ours / "parts").table
    return _Source(name, tuple(description.splits), table, identify, storage, None)


def _saved(name: str, folder: Path, splits: Mapping[str, Path], storage: Storage, cache: Path) -> _Source:
    """A dataset that `save_to_disk` has written."""

    def identify(split: str) -> str:
        paths = [path.relative_to(folder).as_posix() for path in sorted(splits[split].glob("*.arrow"))]
        return digest_of("files", split, [["", identity] for identity in storage.identities(paths)])

    def table(split: str, at_most: int | None) -> Table:
        with translated(f"Split '{split}' of {name}"):
            description = saved_description(splits[split], split, root=folder)
        return Files(name, storage, description, cache).table(split, at_most)

    return _Source(name, tuple(splits), table, identify, storage, None)


def _open_split(
    source: _Source,
    slices: tuple[Slice, ...],
    name: str,
    *,
    spec: DatasetSpec,
    required: Collection[str],
    reader: _Reader,
    ahead: Ahead | None,
) -> Subset:
    where = f"Split '{slices[0].split}' of {source.name}"
    table, rows = _rows(source, slices, spec, where)
    layout = choose(table.columns, spec.columns, required=required, where=where)
    texts = tuple(
        column
        for column, feature in table.features.items()
        if (is_text(feature) or has_text(feature)) and (column != layout.image.column or layout.image.steps)
    )
    _check_plain(layout, table, where)
    split = slices[0].split if len(slices) == 1 else "+".join(each.split for each in slices)
    whole = Subset(
        name=name,
        num_rows=len(table),
        fingerprint=_identity(source, slices, table, layout, texts),
        revision=source.revision,
        columns=table.columns,
        layout=layout,
        split=split,
        texts=texts,
        _table=table,
        _rows=(),
        _reader=ahead or reader,
        _downloads=source.downloads,
    )
    subset = whole.narrowed(rows)
    return subset.pinned(reader.identities(subset.named())) if reader.pins else subset


def _rows(
    source: _Source, slices: tuple[Slice, ...], spec: DatasetSpec, where: str
) -> tuple[Table, Sequence[int]]:
    """The table of the splits, one after another, and which of its rows are meant."""
    tables: dict[str, Table] = {}
    for each in slices:
        if each.split not in tables:
            tables[each.split] = source.table(each.split, _needed(slices, each.split, spec))
            if len(tables[each.split]) == 0:
                raise DataError(f"Split '{each.split}' of {source.name} is empty.", subset=each.split)
    table = Table.joined(list(tables.values()))
    starts, at = {}, 0
    for split, part in tables.items():
        starts[split] = at
        at += len(part)
    ranges = []
    for each in slices:
        try:
            rows = each.rows(len(tables[each.split]))
        except ValueError as error:
            raise DataError(f"{source.name}: {error}.", hint="Ask for fewer in dataset.split.") from None
        ranges.append(range(starts[each.split] + rows.start, starts[each.split] + rows.stop))
    chosen: Sequence[int] = ranges[0] if len(ranges) == 1 else [row for rows in ranges for row in rows]
    if not chosen:
        raise DataError(f"{where}: no row is asked for.", hint="Widen the slice in dataset.split.")
    most = min(spec.max_rows or len(chosen), len(chosen))
    if spec.shuffle_seed is not None and most < len(chosen):
        return table, [chosen[place] for place in sample(len(chosen), most, str(spec.shuffle_seed))]
    return table, chosen[:most]


def _needed(slices: tuple[Slice, ...], split: str, spec: DatasetSpec) -> int | None:
    """How many rows of `split` must be known; None: all of them."""
    if any(each.split != split for each in slices):
        return None  # where the rows of the next split begin depends on all of them
    if all(each.at_most is not None for each in slices):
        return max(each.at_most or 0 for each in slices)
    if spec.max_rows is not None and spec.shuffle_seed is None and len(slices) == 1 and slices[0].is_whole:
        return spec.max_rows
    return None


def _check_plain(layout: Layout, table: Table, where: str) -> None:
    for role, path in (("html", layout.html), ("output", layout.output)):
        if path is None:
            continue
        feature = table.features[path.column]
        if not (is_text(feature) or (path.steps and has_text(feature))):
            raise DataError(
                f"{where}: column '{path.column}' holds no text.",
                hint=f'Name another in the spec, under [dataset]: columns = {{ {role} = "…" }}.',
                field=role,
            )


def _identity(
    source: _Source, slices: tuple[Slice, ...], table: Table, layout: Layout, texts: Collection[str]
) -> str:
    """Of all that the rows can come from, and of how it is read."""
    splits = list(dict.fromkeys(each.split for each in slices))
    identities = [source.identify(split) for split in splits]
    labels = {name: labels_in(table.features[name]) for name in texts if labels_in(table.features[name])}
    retyped = sorted(table.retyped.intersection(texts))
    # What was read as something else before has another identity than it had before.
    told = [{"labels": labels, "as written": retyped}] if labels or retyped else []
    beside = source.storage.named(
        path for path in table.named(layout.image) if not is_address(path) and not _elsewhere(path, source)
    )
    return digest_of(identities[0] if len(splits) == 1 else identities, beside, *told)


def _elsewhere(path: str, source: _Source) -> bool:
    """Whether it is an address in S3 outside of the source; `dataset.fetch_images` looks after those."""
    return is_object(path) and not (isinstance(source.storage, S3Storage) and source.storage.holds(path))


def _unique(whole: Subset) -> Subset:
    """The first of all rows that are alike in everything."""
    seen: set[bytes] = set()
    kept = []
    for row in whole.scan():
        if isinstance(row, Row):
            fields = json.dumps(row.fields, sort_keys=True, default=str)
            pictures = b"".join(hashlib.sha256(content_of(image)).digest() for image in row.images)
            alike = hashlib.sha256(pictures + fields.encode()).digest()
            if alike in seen:
                continue
            seen.add(alike)
            kept.append(row.index)
        else:
            kept.append(row.row or 0)
    return whole if len(kept) == whole.num_rows else whole.chosen(kept)


def _held_by_column(whole: Subset, spec: DatasetSpec, source: _Source) -> list[Subset]:
    column, values = spec.validation_column or "", spec.validation_values
    cells = _cells(whole, column, "validation_column", source)
    held = [row for row, cell in enumerate(cells) if str(cell) in values]
    if not held or len(held) == len(cells):
        found = ", ".join(sorted({str(cell) for cell in cells})[:8])
        which = "no" if not held else "every"
        raise DataError(
            f"In {which} row of split '{whole.split}' of {source.name}, column '{column}' holds one of "
            f"{', '.join(values)}; it holds {found}.",
            hint="Name the values of the held-out rows in dataset.validation_values.",
        )
    apart = set(held)
    kept = [row for row in range(len(cells)) if row not in apart]
    return [whole.chosen(kept), whole.chosen(held, name=spec.validation_name)]


def _held_back(whole: Subset, spec: DatasetSpec, source: _Source) -> list[Subset]:
    keys = whole.keys()
    if spec.group_column is not None:
        groups = _cells(whole, spec.group_column, "group_column", source)
        keys = [[*key, f"group {group}"] for key, group in zip(keys, groups, strict=True)]
    parts = divide(keys, spec.validation_fraction or 0.0, seed=spec.seed)
    if parts is None:
        raise DataError(
            f"Split '{whole.split}' of {source.name} cannot be divided: all rows share an image, HTML or "
            "group.",
            hint="Leave dataset.validation_fraction out, or give dataset.validation_split.",
        )
    return [whole.chosen(parts[0]), whole.chosen(parts[1], name=spec.validation_name)]


def _cells(whole: Subset, column: str, setting: str, source: _Source) -> list[object]:
    """The values of a column, row by row; a row without an image has its value too."""
    if column not in whole.texts:
        raise DataError(
            f"Split '{whole.split}' of {source.name} has no column '{column}' of plain values; "
            f"its columns are {', '.join(whole.columns)}.",
            hint=f"Name another in dataset.{setting}.",
        )
    return whole.cells(column)
