"""Open what a spec names: one or two subsets of rows, undecoded, each with a fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_runner.dataset.columns import Layout, choose
from vlm_runner.dataset.fingerprint import FileDigests, digest_of, relative
from vlm_runner.dataset.hub import open_hub
from vlm_runner.dataset.images import named_files
from vlm_runner.dataset.loading import cache_folder, open_local
from vlm_runner.dataset.local import FORMATS, LocalFiles, find_files
from vlm_runner.dataset.pages import MappedPages
from vlm_runner.dataset.rows import Opened, Row, Subset, Table
from vlm_runner.dataset.split import divide
from vlm_runner.errors import ConfigurationError, DataError
from vlm_runner.path_segment import path_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from vlm_runner.spec import DatasetSpec

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class _Source:
    """A dataset found, its splits not yet opened."""

    name: str
    splits: tuple[str, ...]
    open: Callable[[str], Table]
    identify: Callable[[str], str]
    root: Path | None
    revision: str | None
    digests: FileDigests


def open_dataset(
    spec: DatasetSpec,
    *,
    token: str | None = None,
    endpoint: str | None = None,
    cache_dir: Path | None = None,
    required: Collection[str] = ("html", "output"),
) -> Opened:
    """
    Open the splits that `spec` names. Blocks, and may download: call it in a worker thread.

    `required` are the columns that there must be beside the image, by their roles. `token` and `endpoint` are
    the Hub's; None: as `huggingface_hub` finds them (HF_TOKEN, a login, HF_ENDPOINT).

    Raises:
        ConfigurationError: no such source, split or revision, or no right to read it.
        DataError: it is empty, cannot be read, or lacks a column.
    """
    wanted = [spec.split, *([spec.validation_split] if spec.validation_split is not None else [])]
    for split in wanted:
        _check_split(split)
    source = _find(spec, token=token, endpoint=endpoint, cache=cache_folder(cache_dir))
    for split in wanted:
        _check_there(split, source)
    subsets = [_open_split(source, split, spec, required) for split in wanted]
    if spec.drop_duplicates:
        subsets = [_unique(subset) for subset in subsets]
    if spec.validation_column is not None:
        subsets = _held_by_column(subsets[0], spec.validation_column, spec.validation_values, source)
    if spec.validation_fraction is not None:
        subsets = _held_back(subsets[0], spec, source)
    train, validation = subsets[0], subsets[1] if len(subsets) > 1 else None
    fingerprint = digest_of([subset.fingerprint for subset in subsets])
    return Opened(train, validation, source.revision, fingerprint)


def _check_split(split: str) -> None:
    try:
        path_segment(split)
    except ValueError:
        raise ConfigurationError(
            f"'{split}' is not the name of a split; slices and sums of splits are not taken.",
            hint="Name one split, and use dataset.max_rows or dataset.validation_fraction for a part of it.",
        ) from None


def _check_there(split: str, source: _Source) -> None:
    if split not in source.splits:
        raise ConfigurationError(
            f"{source.name} has no split '{split}'; it has {', '.join(source.splits) or 'none'}.",
            hint="Name one of them in dataset.split or dataset.validation_split.",
        )


def _find(spec: DatasetSpec, *, token: str | None, endpoint: str | None, cache: Path) -> _Source:
    if "://" in spec.source:
        raise ConfigurationError(
            f"Reading a dataset from {spec.source.partition('://')[0]}:// is not supported yet.",
            hint="Download it, and give dataset.source the folder.",
        )
    path = Path(spec.source).expanduser()
    if path.exists():
        return _local(path, spec, cache)
    if HUB_ID.fullmatch(spec.source) and path.suffix.lower() not in FORMATS:
        return _hub(spec, token=token, endpoint=endpoint, cache=cache)
    raise ConfigurationError(
        f"File or folder not found: {path}.",
        hint="Set dataset.source to an existing path, or to a dataset on the Hugging Face Hub: owner/name.",
    )


def _hub(spec: DatasetSpec, *, token: str | None, endpoint: str | None, cache: Path) -> _Source:
    found = open_hub(spec.source, spec.revision, token=token, endpoint=endpoint, cache=cache)
    return _Source(
        name=f"The dataset {found.repo}",
        splits=found.splits,
        open=found.open,
        identify=lambda split: digest_of("hub", found.commit, split),
        root=found.root,
        revision=found.commit,
        digests=FileDigests(cache / "vlm-runner" / "digests" / f"{found.commit}.json"),
    )


def _local(path: Path, spec: DatasetSpec, cache: Path) -> _Source:
    if spec.revision is not None:
        raise ConfigurationError(
            f"{path} is local, and has no revision '{spec.revision}'.", hint="Leave dataset.revision out."
        )
    files = find_files(path)
    ours = cache / "vlm-runner"
    digests = FileDigests(ours / "digests" / f"{digest_of(str(files.root))[:32]}.json")

    def identify(split: str) -> str:
        return _local_content(files, split, digests)

    def opened(split: str) -> Table:
        # By content, so that a changed file is never answered from what it held before.
        return open_local(files, split, ours / "tables" / identify(split)[:32])

    return _Source(f"{path}", tuple(files.splits), opened, identify, files.root, None, digests)


def _local_content(files: LocalFiles, split: str, digests: FileDigests) -> str:
    paths = files.splits[split]
    if files.kind == "saved":
        paths = tuple(sorted(paths[0].glob("*.arrow")))
    digest = digests.of(paths)
    root = files.splits[split][0] if files.kind == "saved" else files.root
    names = [relative(path, root) for path in paths] if files.kind == "imagefolder" else [""] * len(paths)
    return digest_of("files", split, [[name, digest[path]] for name, path in zip(names, paths, strict=True)])


def _open_split(source: _Source, split: str, spec: DatasetSpec, required: Collection[str]) -> Subset:
    where = f"Split '{split}' of {source.name}"
    table = source.open(split)
    if len(table) == 0:
        raise DataError(f"{where} is empty.", subset=split)
    columns = tuple(table.column_names)
    layout = choose(columns, spec.columns, required=required, where=where)
    texts = [name for name, feature in table.features.items() if _is_plain(feature) and name != layout.image]
    _check_plain(layout, texts, where)
    whole = Subset(
        name=split,
        num_rows=len(table),
        fingerprint=digest_of(source.identify(split), _beside(source, table, layout)),
        revision=source.revision,
        columns=columns,
        layout=layout,
        split=split,
        _images=table.select_columns([layout.image]).with_format("arrow"),
        _texts=table.select_columns(texts).with_format(None),
        _pages=MappedPages(table),
        _rows=(),
        _root=source.root,
    )
    return whole.narrowed(range(min(spec.max_rows or len(table), len(table))))


def _check_plain(layout: Layout, texts: list[str], where: str) -> None:
    for role, column in (("html", layout.html), ("output", layout.output)):
        if column is not None and column not in texts:
            raise DataError(
                f"{where}: column '{column}' holds no text.",
                hint=f'Name another in the spec, under [dataset]: columns = {{ {role} = "…" }}.',
                field=role,
            )


def _beside(source: _Source, table: Table, layout: Layout) -> list[list[str]]:
    """Name and digest of each file that rows name instead of holding it; a commit identifies its own."""
    if source.root is None or source.revision is not None:
        return []
    digests = source.digests.of(named_files(table, layout.image, source.root))
    return sorted([relative(path, source.root), digest] for path, digest in digests.items())


def _unique(whole: Subset) -> Subset:
    """The first of all rows that are alike in everything."""
    seen: set[bytes] = set()
    kept = []
    for row in whole.scan():
        if isinstance(row, Row):
            fields = json.dumps(row.fields, sort_keys=True, default=str)
            pictures = b"".join(hashlib.sha256(image).digest() for image in row.images)
            alike = hashlib.sha256(pictures + fields.encode()).digest()
            if alike in seen:
                continue
            seen.add(alike)
            kept.append(row.index)
        else:
            kept.append(row.row or 0)
    return whole if len(kept) == whole.num_rows else whole.chosen(kept)


def _held_by_column(whole: Subset, column: str, values: Collection[str], source: _Source) -> list[Subset]:
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
    return [whole.chosen(kept), whole.chosen(held, name=_held_out_name(whole))]


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
    return [whole.chosen(parts[0]), whole.chosen(parts[1], name=_held_out_name(whole))]


def _held_out_name(whole: Subset) -> str:
    return "validation" if whole.name != "validation" else "held-out"


def _cells(whole: Subset, column: str, setting: str, source: _Source) -> list[object]:
    """The values of a column, row by row; a row without an image has its value too."""
    if column not in whole.texts:
        raise DataError(
            f"Split '{whole.split}' of {source.name} has no column '{column}' of plain values; "
            f"its columns are {', '.join(whole.columns)}.",
            hint=f"Name another in dataset.{setting}.",
        )
    return whole.cells(column)


def _is_plain(feature: Any) -> bool:
    if isinstance(feature, dict):
        return all(_is_plain(child) for child in feature.values())
    if isinstance(feature, list):
        return all(_is_plain(child) for child in feature)
    kind = type(feature).__name__
    if kind in {"List", "LargeList", "Sequence"}:
        return _is_plain(feature.feature)
    return kind in {"Json", "ClassLabel"} or (kind == "Value" and "binary" not in feature.dtype)
