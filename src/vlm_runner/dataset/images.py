"""Image bytes as they are, from whatever a column holds."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from vlm_runner.image_limits import MAX_SOURCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.dataset.in_place import Picture

LONGEST_SHOWN: Final = 100
"""Characters of a path in a message."""
LONGEST_PATH: Final = 4096
"""Linux's PATH_MAX; longer texts name no file."""
LEAST_BASE64: Final = 64
"""Characters: the smallest PNG has 67 bytes."""
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w=.+-]+)*?)(;base64)?,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]+={0,2}\s*")
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_OBJECT: Final = "s3://"
_BEGINNINGS: Final = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"\0\0\1\0", b"\0\0\0\x0cjP",
    b"P5", b"P6",
)  # fmt: skip
"""Of formats that are read; AVIF and HEIC have theirs at byte 4."""


class NoImageError(Exception):
    """A row's image is not there: the code of a rule of lint, and why."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Reader(Protocol):
    """Where images lie that a row only names."""

    def image(self, path: str) -> Picture:
        """Of a file of the dataset. Raises NoImageError."""

    def fetched(self, address: str) -> bytes:
        """What an http(s) address holds. Raises NoImageError."""

    def stored(self, address: str, owner: str | None) -> Picture:
        """What an s3:// address holds, in a bucket of `owner` (None: of anybody). Raises NoImageError."""


def images_of(value: object, reader: Reader) -> list[tuple[Picture, str | None]]:
    """
    A cell's images, in order: one, or a list of them. How many a record may have is the model's to say.

    Raises:
        NoImageError: there is none, or one of them lies where a dataset has no business.
    """
    if not isinstance(value, list) or _are_bytes(value):
        return [image_of(value, reader)]
    if len(value) < 2:
        return [image_of(value[0] if value else None, reader)]
    found = []
    for number, each in enumerate(value, 1):
        try:
            found.append(image_of(each, reader))
        except NoImageError as error:
            raise NoImageError(error.code, f"{error} (image {number} of {len(value)})") from None
    return found


def image_of(value: object, reader: Reader) -> tuple[Picture, str | None]:
    """
    One image and its path: bytes, `{bytes, path}`, or what a text stands for.

    Raises:
        NoImageError: there is none, or it lies where a dataset has no business.
    """
    if isinstance(value, Mapping) and isinstance(location := value.get("s3Location"), Mapping):
        return _of_location(location, reader)
    held, path = _parts(value)
    data: Picture | None = _decoded(held, "the bytes") if isinstance(held, str) else held
    if data is None and path:
        data, path = _of_text(path, reader)
    if not data:
        raise NoImageError("I101", "is missing") if value is None else NoImageError("I102", "is empty")
    return data, path


def _of_location(location: Mapping[str, Any], reader: Reader) -> tuple[Picture, str | None]:
    """Bedrock's place of an image (Bedrock API reference, S3Location): a URI, and whose bucket it is."""
    uri, owner = location.get("uri"), location.get("bucketOwner")
    if not isinstance(uri, str) or not uri:
        raise NoImageError("I102", "is empty: its s3Location has no uri")
    if owner is not None and not isinstance(owner, str):
        raise NoImageError("I106", f"has a {type(owner).__name__} for its bucketOwner")
    if is_object(uri):
        return reader.stored(uri, owner), uri
    return _of_text(uri, reader)


def _of_text(text: str, reader: Reader) -> tuple[Picture, str | None]:
    """A text is a data URI, an address, an image in base64, or the path of a file."""
    if text[:5].lower() == "data:":
        return _of_data_uri(text), None
    if _ADDRESS.match(text):
        return reader.fetched(text), text
    if is_object(text):
        return reader.stored(text, None), text
    if (image := embedded(text)) is not None:
        return image, None
    if len(text) > LONGEST_PATH:
        raise NoImageError(
            "I106", f"is text of {len(text):,} characters, neither a path nor an image in base64"
        )
    return reader.image(text), text


def _of_data_uri(text: str) -> bytes:
    head = _DATA_URI.match(text[:200])
    if head is None or head[3] is None:
        raise NoImageError("I106", f"is not a data URI of an image in base64: '{text[:40]}…'")
    return _decoded(text[head.end() :], "the data URI")


def _decoded(text: str, what: str) -> bytes:
    if text[:5].lower() == "data:":
        return _of_data_uri(text)
    try:
        return base64.b64decode(_padded(text), validate=True)
    except (binascii.Error, ValueError):
        raise NoImageError(
            "I106", f"is not an image: {what} are not base64".replace("URI are", "URI is")
        ) from None


def embedded(text: str) -> bytes | None:
    """The image that `text` is in base64; None: it is none. No path looks like one, and is as long."""
    if len(text) < LEAST_BASE64 or not _begins_image(text[:32]) or _BASE64.fullmatch(text) is None:
        return None
    try:
        return base64.b64decode(_padded(text), validate=True)
    except (binascii.Error, ValueError):
        return None


def _padded(text: str) -> str:
    plain = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    return plain + "=" * (-len(plain) % 4)


def _begins_image(text: str) -> bool:
    try:
        head = base64.b64decode(_padded(text)[: len(text) // 4 * 4])
    except (binascii.Error, ValueError):
        return False
    return head.startswith(_BEGINNINGS) or head[4:8] == b"ftyp"


def _are_bytes(value: object) -> bool:
    """Some writers turn bytes into a list of numbers."""
    return (
        isinstance(value, list)
        and len(value) >= 8
        and all(type(item) is int and 0 <= item <= 255 for item in value)
    )


def _parts(value: object) -> tuple[bytes | str | None, str | None]:
    path: Any = None
    data: Any = None
    if isinstance(value, Mapping) and isinstance(location := value.get("s3Location"), Mapping):
        path = location.get("uri")
    elif isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path") or value.get("url")
    elif isinstance(value, str):
        path = value
    else:
        data = value
    if isinstance(data, list) and _are_bytes(data):
        data = bytes(data)
    if isinstance(data, bytearray | memoryview):
        data = bytes(data)
    if data is not None and not isinstance(data, bytes | str):
        raise NoImageError("I106", f"is a {type(data).__name__}, not the bytes of an image")
    if path is not None and not isinstance(path, str):
        raise NoImageError("I106", f"has a {type(path).__name__} for its path")
    return data, path


def unreadable_image(path: str, error: Exception | str) -> NoImageError:
    said = getattr(error, "strerror", None) or str(error).split("\n", 1)[0]
    return NoImageError("I103", f"cannot be read from '{_short(path)}': {said}")


def read_image(file: Path, path: str) -> bytes:
    """
    The image that a row names as `path`; a pipe, which would be waited for, is not opened.

    Raises:
        NoImageError: it is not a file, cannot be read, or is larger than any image that is taken.
    """
    try:
        state = file.stat()
        if not stat.S_ISREG(state.st_mode) and not stat.S_ISDIR(state.st_mode):
            raise unreadable_image(path, "it is not a file")
        if state.st_size > MAX_SOURCE_BYTES:
            raise NoImageError(
                "I135", f"has {state.st_size:,} bytes; {MAX_SOURCE_BYTES:,} is the most that is read"
            )
        return file.read_bytes()
    except OSError as error:
        raise unreadable_image(path, error) from None


def locate(path: str, root: Path | None) -> Path:
    """
    The file that a row names. It must lie in the dataset: data must not reach other files, by no link either.

    A path as Windows writes it is understood.
    """
    if root is None:
        raise NoImageError(
            "I104", f"is only a path ('{_short(path)}'), and the dataset has no files beside its rows"
        )
    if re.match(r"[A-Za-z]:[\\/]", path):
        raise NoImageError("I104", f"is a path of a Windows machine: '{_short(path)}'; make it relative")
    try:
        file = Path(os.path.normpath(root / path))
        if "\\" in path and not file.exists():
            file = Path(os.path.normpath(root / path.replace("\\", "/")))
    except (ValueError, OSError):
        raise NoImageError("I104", f"is not a valid path: '{_short(path)}'") from None
    if "\0" in path or not file.is_relative_to(root):
        raise outside(path)
    if not holds(root, file):
        raise NoImageError("I104", f"is a link out of the dataset's folder: '{_short(path)}'")
    return file


def holds(root: Path, file: Path) -> bool:
    """
    Whether `file`, all links followed, lies in the dataset at `root`.

    A snapshot in the Hub's cache consists of links into the repository's `blobs`, which belong to it
    (huggingface_hub, "Understand caching").
    """
    home = _home(root)
    try:
        return os.path.realpath(file).startswith(home)
    except (OSError, ValueError):
        return False


@lru_cache(maxsize=8)
def _home(root: Path) -> str:
    real = Path(os.path.realpath(root))
    if real.parent.name == "snapshots" and (real.parent.parent / "blobs").is_dir():
        real = real.parent.parent
    return os.path.join(real, "")  # noqa: PTH118 - with the separator that ends a folder's name


def outside(path: str) -> NoImageError:
    return NoImageError("I104", f"lies outside the dataset's folder: '{_short(path)}'")


def _short(path: str) -> str:
    """A cell may hold a whole image as text where a path is expected."""
    return path if len(path) <= LONGEST_SHOWN else f"{path[:LONGEST_SHOWN]}…"


def named_in(value: object) -> Iterator[str]:
    """The paths and addresses that a cell names instead of holding their bytes."""
    return (path for path, _ in owned_in(value))


def owned_in(value: object) -> Iterator[tuple[str, str | None]]:
    """As `named_in`, each with the account that a cell says its bucket is of."""
    if isinstance(value, list) and not _are_bytes(value):
        for item in value:
            yield from owned_in(item)
        return
    try:
        data, path = _parts(value)
    except NoImageError:
        return
    if (
        data is None
        and path
        and len(path) <= LONGEST_PATH
        and path[:5].lower() != "data:"
        and not embedded(path)
    ):
        yield path, _owner(value)


def _owner(value: object) -> str | None:
    location = value.get("s3Location") if isinstance(value, Mapping) else None
    owner = location.get("bucketOwner") if isinstance(location, Mapping) else None
    return owner if isinstance(owner, str) else None


def is_address(path: str) -> bool:
    """Of http(s)."""
    return _ADDRESS.match(path) is not None


def is_object(path: str) -> bool:
    """Of S3."""
    return path.startswith(_OBJECT)
