"""Image bytes as they are, from whatever a column holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.dataset.rows import Table


LONGEST_SHOWN = 100
"""Characters of a path in a message."""


class NoImageError(Exception):
    """A row's image is not there: the code of a rule of lint, and why."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def images_of(value: object, root: Path | None) -> list[tuple[bytes, str | None]]:
    """
    A cell's images, in order: one, or a list of them. How many a record may have is the model's to say.

    Raises:
        NoImageError: there is none, or one of them lies where a dataset has no business.
    """
    if not isinstance(value, list):
        return [image_of(value, root)]
    if len(value) < 2:
        return [image_of(value[0] if value else None, root)]
    found = []
    for number, each in enumerate(value, 1):
        try:
            found.append(image_of(each, root))
        except NoImageError as error:
            raise NoImageError(error.code, f"{error} (image {number} of {len(value)})") from None
    return found


def image_of(value: object, root: Path | None) -> tuple[bytes, str | None]:
    """
    The bytes and the path of one image: bytes, `{bytes, path}`, or a path below `root`.

    Raises:
        NoImageError: there is none, or it lies where a dataset has no business.
    """
    data, path = _parts(value)
    if data is None and path:
        data = _read(path, root)
    if not data:
        raise NoImageError("I101", "is missing") if value is None else NoImageError("I102", "is empty")
    return data, path


def _parts(value: object) -> tuple[bytes | None, str | None]:
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
    elif isinstance(value, str):
        data, path = None, value
    else:
        data, path = value, None
    if data is not None and not isinstance(data, bytes):
        raise NoImageError("I106", f"is a {type(data).__name__}, not the bytes of an image")
    if path is not None and not isinstance(path, str):
        raise NoImageError("I106", f"has a {type(path).__name__} for its path")
    return data, path


def _read(path: str, root: Path | None) -> bytes:
    file = locate(path, root)
    try:
        return file.read_bytes()
    except OSError as error:
        raise NoImageError(
            "I103", f"cannot be read from '{_short(path)}': {error.strerror or error}"
        ) from None


def locate(path: str, root: Path | None) -> Path:
    """
    The file that a row names. It must lie below the dataset's folder: data must not reach other files.

    Links that the folder's owner has put there are followed.
    """
    if root is None:
        raise NoImageError(
            "I104", f"is only a path ('{_short(path)}'), and the dataset has no files beside its rows"
        )
    try:
        file = Path(os.path.normpath(root / path))
    except ValueError:
        raise NoImageError("I104", f"is not a valid path: '{_short(path)}'") from None
    if "\0" in path or not file.is_relative_to(root):
        raise NoImageError("I104", f"lies outside the dataset's folder: '{_short(path)}'")
    return file


def _short(path: str) -> str:
    """A cell may hold a whole image as text where a path is expected."""
    return path if len(path) <= LONGEST_SHOWN else f"{path[:LONGEST_SHOWN]}…"


def named_files(table: Table, column: str, root: Path) -> Iterator[Path]:
    """The files that `column` names instead of holding their bytes; no image is read."""
    for chunk in table.with_format("arrow").data.column(column).chunks:
        for path in _paths(chunk):
            try:
                yield locate(path, root)
            except NoImageError:
                continue


def _paths(chunk: Any) -> list[str]:
    import pyarrow as pa  # noqa: PLC0415 - heavy, and here a dataset is open already
    import pyarrow.compute as pc  # noqa: PLC0415

    if pa.types.is_list(chunk.type) or pa.types.is_large_list(chunk.type):
        return _paths(chunk.flatten())
    if pa.types.is_struct(chunk.type):
        names = {field.name for field in chunk.type}
        if "path" not in names:
            return []
        paths = pc.struct_field(chunk, "path")
        held = (
            pc.struct_field(chunk, "bytes").is_valid().to_pylist()
            if "bytes" in names
            else [False] * len(chunk)
        )
        return [path for path, has in zip(paths.to_pylist(), held, strict=True) if path and not has]
    if pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type):
        return [path for path in chunk.to_pylist() if path]
    return []
