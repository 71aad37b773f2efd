"""From what a source was found to hold to the table of one split."""

from __future__ import annotations

import json
import posixpath
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.dataset.described import Description
from vlm_runner.dataset.files import (
    arrow_parts,
    csv_rows,
    json_rows,
    parquet_footer,
    parquet_parts,
    text_parts,
)
from vlm_runner.dataset.fingerprint import digest_of
from vlm_runner.dataset.folders import folder_labels, folder_rows, is_metadata, tar_rows
from vlm_runner.dataset.loading import translated
from vlm_runner.dataset.memory import LimitedMemory
from vlm_runner.dataset.storage import compression, most_unpacked, unpacks_to_more
from vlm_runner.dataset.table import Table
from vlm_runner.errors import DataError

FOOTERS_AT_ONCE: Final = 8
LFS_POINTER: Final = b"version https://git-lfs"

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from vlm_runner.dataset.files import Values
    from vlm_runner.dataset.storage import Storage
    from vlm_runner.dataset.table import Part


@dataclass(frozen=True, slots=True)
class Files:
    """A source whose files are known, and where they lie."""

    name: str
    storage: Storage
    description: Description
    cache: Path

    def table(self, split: str, at_most: int | None = None) -> Table:
        """
        The rows of `split`; of a remote source no more files than hold the first `at_most` rows.

        Raises:
            DataError: a file cannot be fetched or read; says which.
        """
        if not self.storage.remote:
            at_most = None  # what the rows' files name is part of the fingerprint, and that of all rows
        where = f"Split '{split}' of {self.name}"
        with translated(where), LimitedMemory(self._largest(split)):
            if self.storage.remote and self.description.kind == "parquet" and at_most is None:
                with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
                    for _ in pool.map(self._footer, self.description.splits[split]):
                        pass
            return Table(self._named(where, self._parts(split)), at_most=at_most)

    def _largest(self, split: str) -> int:
        """Bytes of the largest file of `split`; of a remote one its parts are read, and none whole."""
        if self.storage.remote:
            return 0
        files = self.description.splits[split]
        if self.description.kind == "imagefolder":
            files = tuple(filter(is_metadata, files))
        return max(map(self.storage.size, files), default=0)

    def _footer(self, path: str) -> None:
        parquet_footer(self.storage, path, self.cache)

    def _named(self, where: str, parts: Iterable[Part]) -> Iterator[Part]:
        for part in parts:
            yield replace(part, make=partial(_made, where, part))

    def _parts(self, split: str) -> Iterator[Part]:
        described, files = self.description, self.description.splits[split]
        if described.kind == "imagefolder":
            return self._folder(files)
        return chain.from_iterable(self._named_file(path) for path in files)

    def _named_file(self, path: str) -> Iterator[Part]:
        """Whatever is wrong with one of many files, it is named."""
        where = self.name if self.name.endswith(path) else f"{path} in {self.name}"
        with translated(where):
            for part in self._file(path):
                yield replace(part, make=partial(_made, where, part))

    def _file(self, path: str) -> Iterator[Part]:
        storage, described = self.storage, self.description
        match described.kind:
            case "parquet":
                return _if_any(storage, path, parquet_parts(storage, path, self.cache, described.features))
            case "arrow":
                return _if_any(storage, path, arrow_parts(storage, path, self.cache, described.features))
            case "csv":
                return self._texts(
                    f"csv {described.separator}", path, csv_rows(storage, path, described.separator)
                )
            case "json":
                return self._texts("json", path, json_rows(storage, path))
            case kind:
                return self._texts(kind, path, tar_rows(storage, path))

    def _texts(self, kind: str, path: str, rows: Any) -> Iterator[Part]:
        if compression(path) is not None:
            rows = _no_more(rows, path, most_unpacked(self.storage.fetch(path).stat().st_size))
        parts = text_parts(self.cache, kind, self.storage.identity(path), rows)
        labels = _label_names(self.description.features)
        return (_with_labels(part, labels) for part in parts) if labels else parts

    def _folder(self, files: Iterable[str]) -> Iterator[Part]:
        named, labels = list(files), folder_labels(self.description.splits)
        metadata = [path for path in named if is_metadata(path)]
        identity = digest_of(
            [[path, self.storage.identity(path)] for path in metadata] if metadata else named, bool(labels)
        )
        kind = "imagefolder csv" if any(path.endswith(".csv") for path in metadata) else "imagefolder"
        parts = text_parts(self.cache, kind, identity, folder_rows(self.storage, named, labels))
        # Bare images' labels were numbers once.
        return (replace(part, retyped=part.retyped | {"label"}) for part in parts) if labels else parts


def _no_more(rows: Iterator[Values], path: str, most: int) -> Iterator[Values]:
    """`rows`, as long as they are no more than `most` bytes."""
    total = 0
    for values, size in rows:
        total += size
        if total > most:
            raise unpacks_to_more(path, most)
        yield values, size


def _if_any(storage: Storage, path: str, parts: Iterator[Part]) -> Iterator[Part]:
    """
    Nothing of a file without a byte, which some writers leave for a split without rows.

    Raises:
        DataError: it is not the file, but what Git LFS keeps in its place.
    """
    if not storage.remote and storage.read(path, 0, len(LFS_POINTER)) == LFS_POINTER:
        raise DataError(f"{path} is a Git LFS pointer, not the file itself.", hint="Run: git lfs pull")
    return parts if storage.remote or storage.size(path) else iter(())


def _made(where: str, part: Part) -> Path:
    with translated(where), LimitedMemory():
        return part.make()


def _label_names(features: Mapping[str, Any] | None) -> dict[str, Any]:
    """Columns of a text format that the dataset's card says hold the numbers of labels."""
    if features is None:
        return {}
    return {name: feature for name, feature in features.items() if type(feature).__name__ == "ClassLabel"}


def _with_labels(part: Part, labels: Mapping[str, Any]) -> Part:
    return replace(part, features={name: labels.get(name, kind) for name, kind in part.features.items()})


def saved_description(folder: Path, split: str, *, root: Path) -> Description:
    """A dataset written by `save_to_disk`: its Arrow files, in the order of its rows."""
    from datasets import DatasetInfo  # noqa: PLC0415 - heavy, and here a dataset is being opened

    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    names = [str(entry["filename"]) for entry in state["_data_files"]]
    if any(posixpath.basename(name) != name for name in names):
        raise DataError(f"{folder / 'state.json'} names files outside its folder.")
    files = tuple((folder / name).relative_to(root).as_posix() for name in names)
    return Description("arrow", {split: files}, DatasetInfo.from_directory(str(folder)).features)
