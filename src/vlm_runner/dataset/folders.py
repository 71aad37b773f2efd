"""Image folders and WebDataset archives as rows, as the Hub reads them."""

from __future__ import annotations

import json
import posixpath
import re
import tarfile
from typing import TYPE_CHECKING, Any, Final

from vlm_runner.dataset.files import csv_rows, json_rows
from vlm_runner.dataset.storage import decompressed
from vlm_runner.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vlm_runner.dataset.files import Values
    from vlm_runner.dataset.storage import Storage

IMAGES: Final = frozenset(
    f".{ending}"
    for ending in [
        "png",
        "jpg",
        "jpeg",
        "jfif",
        "jpe",
        "webp",
        "gif",
        "bmp",
        "dib",
        "tif",
        "tiff",
        "avif",
        "avifs",
        "jp2",
        "j2k",
        "jpc",
        "jpf",
        "jpx",
        "j2c",
        "ico",
        "ppm",
        "pgm",
        "pbm",
        "pnm",
        "heic",
        "heif",
    ]
)
METADATA: Final = frozenset({"metadata.jsonl", "metadata.csv", "metadata.parquet"})
TEXTS: Final = frozenset({"txt", "text", "transcript", "caption", "html"})
NUMBERS: Final = frozenset({"cls", "cls2", "index", "inx", "id"})
MOST_MEMBER: Final = 128 * 1024 * 1024
"""Bytes of one file in an archive; no image may be larger (`vlm_runner.ingest.inspect`)."""
MOST_SAMPLE: Final = 2 * MOST_MEMBER
"""Bytes of all files of one sample: a compressed archive of 1 MB could hold a thousand times as much."""

_MEMBER = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
"""Name and endings of a file in an archive, as the `webdataset` library splits them."""


def is_image(path: str) -> bool:
    return posixpath.splitext(path)[1].lower() in IMAGES


def is_metadata(path: str) -> bool:
    return posixpath.basename(path) in METADATA


def folder_rows(storage: Storage, files: Iterable[str], labels: Iterable[str] | None) -> Iterator[Values]:
    """
    The rows of an image folder: those of its metadata files, or one for each image.

    An image stays the path of its file. `labels`: folders' names to give bare images as their label.
    """
    named = list(files)
    if metadata := [path for path in named if is_metadata(path)]:
        for path in metadata:
            for values, size in _metadata_rows(storage, path):
                if not any(_names_files(key) for key in _keys(values)):
                    raise DataError(
                        f"A row of {path} has no file_name; its columns are {', '.join(values)}.",
                        hint="Give each row the name of its image, relative to the metadata file: file_name.",
                    )
                yield _with_images(values, posixpath.dirname(path)), size
        return
    known = None if labels is None else set(labels)
    for path in named:
        row: dict[str, Any] = {"image": path}
        if known is not None:
            row["label"] = posixpath.basename(posixpath.dirname(path))
        yield row, len(path)


def folder_labels(splits: Mapping[str, Iterable[str]]) -> set[str] | None:
    """Names of the folders that say what bare images show, if they do: several, all at one depth."""
    every = [path for files in splits.values() for path in files]
    if any(is_metadata(path) for path in every):
        return None
    labels = {posixpath.basename(posixpath.dirname(path)) for path in every}
    depths = {path.count("/") for path in every}
    return labels if len(labels) > 1 and len(depths) == 1 else None


def _metadata_rows(storage: Storage, path: str) -> Iterator[Values]:
    if path.endswith(".csv"):
        return csv_rows(storage, path, ",")
    if path.endswith(".jsonl"):
        return json_rows(storage, path)
    return _parquet_rows(storage, path)


def _parquet_rows(storage: Storage, path: str) -> Iterator[Values]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - heavy, and here a dataset is open already

    with pq.ParquetFile(storage.fetch(path)) as file:
        for batch in file.iter_batches(1024):
            for row in batch.to_pylist():
                yield row, batch.nbytes // max(1, batch.num_rows)


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield key
            yield from _keys(child)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)


def _names_files(key: str) -> bool:
    return key in {"file_name", "file_names"} or key.endswith(("_file_name", "_file_names"))


def _with_images(value: Any, folder: str) -> Any:
    """`file_name` as `image`, `page_file_name` as `page`, `file_names` as `images`; paths from the root."""
    if isinstance(value, list):
        return [_with_images(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, child in value.items():
        if key == "file_name" or (key.endswith("_file_name") and isinstance(child, str)):
            found[key.removesuffix("file_name").removesuffix("_") or "image"] = _below(folder, child)
        elif key == "file_names" or (key.endswith("_file_names") and isinstance(child, list)):
            paths = child if isinstance(child, list) else [child]
            name = key.removesuffix("file_names").removesuffix("_") or "images"
            found[name] = [_below(folder, path) for path in paths]
        else:
            found[key] = _with_images(child, folder)
    return found


def _below(folder: str, path: Any) -> Any:
    if not isinstance(path, str) or not path or not folder or path.startswith("/"):
        return path
    return f"{folder}/{path}"


def tar_rows(storage: Storage, path: str) -> Iterator[Values]:
    """
    The samples of a WebDataset shard: files of one name, a column for each of their endings.

    Raises:
        DataError: it is damaged, or a file or a sample in it is larger than is read.
    """
    row: dict[str, Any] = {}
    size = 0
    try:
        with decompressed(storage, path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                match = _MEMBER.fullmatch(member.name)
                if not member.isfile() or match is None or posixpath.basename(member.name).startswith("."):
                    continue
                if member.size > MOST_MEMBER:
                    raise DataError(
                        f"{member.name} in {path} has {member.size:,} bytes; {MOST_MEMBER:,} are read."
                    )
                key, column = match[1], match[2]
                if row and row["__key__"] != key:
                    yield row, size
                    row, size = {}, 0
                if size + member.size > MOST_SAMPLE:
                    raise DataError(
                        f"The sample {key} in {path} has more than {MOST_SAMPLE:,} bytes; so many are read."
                    )
                if column in row:
                    raise DataError(f"{path} holds {member.name} twice.")
                content = archive.extractfile(member)
                body = content.read() if content is not None else b""
                row.setdefault("__key__", key)
                row[column] = _member(path, member.name, column, body)
                size += len(body)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{path} cannot be read: it is damaged or cut off ({error}).") from None
    if row:
        yield row, size


def _member(path: str, name: str, column: str, body: bytes) -> Any:
    ending = column.rpartition(".")[2].lower()
    try:
        if f".{ending}" in IMAGES:
            return {"bytes": body, "path": name}
        if ending in TEXTS:
            return body.decode()
        if ending in {"json", "jsn"}:
            return json.loads(body)
        if ending in NUMBERS:
            return int(body)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} in {path} cannot be read: {error}.") from None
    return None
