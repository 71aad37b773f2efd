"""Sources in S3: objects below a prefix, read as files of a folder, as far as they are needed."""

from __future__ import annotations

import os
import posixpath
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from vlm_runner.dataset.ahead import Kept
from vlm_runner.dataset.card import CARD
from vlm_runner.dataset.fingerprint import MISSING, digest_of
from vlm_runner.dataset.images import NoImageError, is_object, outside, unreadable_image
from vlm_runner.dataset.in_place import HEAD, TAIL, InPlace
from vlm_runner.dataset.local import DESCRIPTIONS, format_of, is_sharded
from vlm_runner.dataset.storage import blocks
from vlm_runner.dataset.table import writing
from vlm_runner.errors import AccessDenied, ConfigurationError, Conflict, DataError, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from vlm_runner.dataset.downloads import Downloads

MOST_OBJECTS: Final = 1_000_000
"""Below one source: each is remembered."""
_ADDRESS: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)
_OWNER: Final = re.compile(r"[0-9]{12}")


class Listed(Protocol):
    @property
    def key(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def etag(self) -> str: ...


class ObjectReader(Protocol):
    """S3, for threads. Raises NotFound, AccessDenied, Conflict and the others of `vlm_runner.errors`."""

    def list(self, bucket: str, prefix: str, *, after: str = "", nested: bool = True) -> Iterator[Listed]:
        """Objects in the order of their keys; without `nested`, only those without a further `/`."""

    def look(self, bucket: str, key: str) -> Listed | None: ...

    def read(
        self,
        bucket: str,
        key: str,
        *,
        start: int = 0,
        stop: int | None = None,
        etag: str | None = None,
        owner: str | None = None,
    ) -> bytes:
        """Bytes of the version `etag`; Conflict if there is another one now."""


def parse_address(text: str) -> tuple[str, str] | None:
    """Bucket and key of `s3://bucket/key`; the key may be empty."""
    match = _ADDRESS.fullmatch(text)
    return None if match is None else (match[1], match[2] or "")


class Objects:
    """
    Objects that rows name by `s3://` addresses, in any bucket.

    What one holds is what it held when it was first looked at: its ETag goes with every request.
    """

    def __init__(self, reader: ObjectReader, cache: Path) -> None:
        self._reader, self._kept = reader, Kept(cache)
        self._listed: dict[tuple[str, str], Listed] = {}

    def identities(self, addresses: Iterable[str]) -> list[str]:
        """The ETag of each of `addresses`, or that there is nothing, in their order."""
        unique = list(dict.fromkeys(addresses))
        folders: dict[tuple[str, str], list[str]] = {}
        for address in unique:
            if (found := parse_address(address)) is not None:
                folders.setdefault((found[0], posixpath.dirname(found[1])), []).append(found[1])
        for (bucket, folder), keys in folders.items():
            listed = look_up(self._reader, bucket, f"{folder}/" if folder else "", keys)
            self._listed |= {(bucket, key): item for key, item in listed.items()}
        known = [self._listed.get(parse_address(address) or ("", "")) for address in unique]
        return [MISSING if item is None else item.etag for item in known]

    def read(self, address: str, owner: str | None) -> bytes:
        """
        What lies there, in a bucket that belongs to `owner` (None: to anybody).

        Raises:
            NoImageError: there is nothing, or it may not be read.
        """
        found = _object_named(address)
        item = self._listed.get(found)
        return _kept_image(self._kept, self._reader, *found, None if item is None else item.etag, owner)

    def in_place(self, address: str, owner: str | None) -> InPlace:
        """
        What lies there, as far as its first and last bytes tell.

        Raises:
            NoImageError: there is nothing, or it may not be read.
        """
        bucket, key = found = _object_named(address)
        item = self._listed.get(found) or self._reader.look(bucket, key)
        if item is None:
            raise _absent(address)
        if not item.size:
            raise NoImageError("I102", "is empty")
        self._listed[found] = item

        def part(start: int, stop: int) -> bytes:
            return _image(self._reader, bucket, key, item.etag, owner, start=start, stop=stop)

        head = part(0, min(HEAD, item.size))
        tail = head[-TAIL:] if item.size <= HEAD else part(item.size - TAIL, item.size)
        return InPlace(address, item.etag, item.size, head, tail, partial(self.read, address, owner))


def _object_named(address: str) -> tuple[str, str]:
    found = parse_address(address)
    if found is None or not found[1]:
        raise NoImageError("I104", f"is not a valid S3 address: '{address[:100]}'")
    return found


def _absent(address: str) -> NoImageError:
    return unreadable_image(address, "there is no such object")


def _kept_image(  # noqa: PLR0917 - as of _image
    kept: Kept,
    reader: ObjectReader,
    bucket: str,
    key: str,
    etag: str | None,
    owner: str | None,
    *,
    fetched: Callable[[int], None] = lambda _: None,
) -> bytes:
    """As `_image`, of an object that was perhaps read before; `fetched` is told how many bytes were not."""
    identity = None if etag is None else digest_of(bucket, key, etag, owner)
    body = None if identity is None else kept.get(identity)
    if body is None:
        body = _image(reader, bucket, key, etag, owner)
        fetched(len(body))
        if identity is not None:
            kept.put(identity, body)
    return body


def _image(
    reader: ObjectReader,
    bucket: str,
    key: str,
    etag: str | None,
    owner: str | None,
    *,
    start: int = 0,
    stop: int | None = None,
) -> bytes:
    address = f"s3://{bucket}/{key}"
    if owner is not None and not _OWNER.fullmatch(owner):
        raise NoImageError("I104", f"is of the account '{owner[:40]}', which is not 12 digits")
    try:
        return reader.read(bucket, key, start=start, stop=stop, etag=etag, owner=owner)
    except NotFound:
        raise _absent(address) from None
    except AccessDenied as error:
        if owner is None:
            raise  # a right that is missing is missing for all rows
        reason = f"{error.message.rstrip('.')}, or its bucket is not of the account {owner}"
        raise unreadable_image(address, reason) from error
    except Conflict:
        raise _changed(address) from None


def look_up(reader: ObjectReader, bucket: str, folder: str, keys: Iterable[str]) -> dict[str, Listed]:
    """Those of `keys` that there are, all of one folder: a page of a listing tells of a thousand."""
    wanted = sorted(set(keys))
    found: dict[str, Listed] = {}
    try:
        for item in reader.list(bucket, folder, after=wanted[0][:-1], nested=False):
            if item.key > wanted[-1]:
                break
            found[item.key] = item
    except NotFound:
        return {}
    return {key: found[key] for key in wanted if key in found}


class S3Storage:
    """Objects below a prefix, as they were listed: one that has changed since then is not read."""

    remote = True

    def __init__(
        self,
        reader: ObjectReader,
        bucket: str,
        prefix: str,
        listed: Iterable[Listed],
        *,
        cache: Path,
        downloads: Downloads,
    ) -> None:
        """`prefix` is empty or ends with `/`."""
        self._downloads = downloads
        self._reader, self._bucket, self._prefix, self._cache = reader, bucket, prefix, cache
        self._kept = Kept(cache)
        self._listed: dict[str, Listed] = {item.key.removeprefix(prefix): item for item in listed}

    @property
    def files(self) -> list[str]:
        return [path for path in self._listed if _is_plain(path)]

    def fetch(self, path: str) -> Path:
        kept = self._cache / digest_of("s3", self.identity(path))[:32]
        if not kept.exists():
            with writing(kept) as temporary, temporary.open("wb") as file:
                for start, stop in blocks(0, self.size(path)):
                    file.write(self.read(path, start, stop))
        return kept

    def size(self, path: str) -> int:
        return self._listed[path].size

    def identity(self, path: str) -> str:
        item = self._listed[path]
        return digest_of("s3", self._bucket, item.key, item.etag, item.size)

    def identities(self, paths: Sequence[str]) -> list[str]:
        return [self.identity(path) for path in paths]

    def named(self, paths: Iterable[str]) -> list[list[str]]:
        keys: dict[str, None] = {}
        for path in paths:
            try:
                keys[self._key(path)] = None
            except NoImageError:
                continue
        folders: dict[str, list[str]] = {}
        for key in keys:
            if key.removeprefix(self._prefix) not in self._listed:
                folder = posixpath.dirname(key)
                folders.setdefault(f"{folder}/" if folder else "", []).append(key)
        for folder, missing in folders.items():
            found = look_up(self._reader, self._bucket, folder, missing)
            self._listed |= {key.removeprefix(self._prefix): item for key, item in found.items()}
        inside = sorted(key.removeprefix(self._prefix) for key in keys)
        return [[path, self.identity(path) if path in self._listed else MISSING] for path in inside]

    def read(self, path: str, start: int, stop: int) -> bytes:
        item = self._listed[path]
        if not item.size:
            return b""
        try:
            body = self._reader.read(
                self._bucket, item.key, start=start, stop=min(stop, item.size), etag=item.etag
            )
        except (Conflict, NotFound):
            raise _changed(f"s3://{self._bucket}/{item.key}") from None
        self._downloads.add(path, len(body))
        return body

    def address_of(self, path: str) -> str:
        """Of what a row names. Raises NoImageError: it lies outside."""
        return f"s3://{self._bucket}/{self._key(path)}"

    def holds(self, address: str) -> bool:
        """Whether an `s3://` address lies in it."""
        found = parse_address(address)
        return found is not None and found[0] == self._bucket and found[1].startswith(self._prefix)

    def image(self, path: str, owner: str | None = None) -> bytes:
        key = self._key(path)
        known = self._listed.get(key.removeprefix(self._prefix))
        etag = None if known is None else known.etag
        counted = partial(self._downloads.add, path)
        return _kept_image(self._kept, self._reader, self._bucket, key, etag, owner, fetched=counted)

    def _key(self, path: str) -> str:
        if is_object(path):
            if not self.holds(path):
                raise outside(path)
            return (parse_address(path) or ("", ""))[1]
        inside = os.path.normpath(path).replace(os.sep, "/")
        if "\\" in path and inside not in self._listed:
            inside = posixpath.normpath(path.replace("\\", "/"))
        if inside.startswith(("/", "..")) or "\0" in path:
            raise outside(path)
        return self._prefix + inside


def _changed(address: str) -> DataError:
    return DataError(
        f"{address} has changed or is gone since it was first looked at.",
        hint="Start again once nothing is being written there.",
    )


def open_prefix(
    source: str, reader: ObjectReader, cache: Path, downloads: Downloads
) -> tuple[S3Storage, str | None]:
    """
    What lies at an address, and the name of the one object of rows that it is, or None for a folder.

    Raises:
        ConfigurationError: the address is not valid, or there is nothing.
        DataError: there are more objects than are read.
    """
    found = parse_address(source)
    if found is None:
        raise ConfigurationError(
            f"'{source}' is not a valid S3 address.",
            hint="It looks like s3://bucket/folder/ or s3://bucket/a.jsonl.",
        )
    bucket, key = found
    kept = cache / "s3"
    try:
        if format_of(key) and (item := reader.look(bucket, key)) is not None:
            folder, name = posixpath.split(key)
            root = f"{folder}/" if folder else ""
            return S3Storage(reader, bucket, root, [item], cache=kept, downloads=downloads), name
        prefix = f"{key.rstrip('/')}/" if key.strip("/") else ""
        listed = list(_bounded(reader.list(bucket, prefix), source))
    except NotFound:
        raise ConfigurationError(
            f"There is no bucket {bucket}.", hint="Check dataset.source, and the account of your credentials."
        ) from None
    storage = S3Storage(reader, bucket, prefix, listed, cache=kept, downloads=downloads)
    if not storage.files:
        raise ConfigurationError(
            f"There is nothing at {source}.",
            hint="Set dataset.source to an object or a prefix.",
        )
    return storage, None


def _bounded(listed: Iterator[Listed], source: str) -> Iterator[Listed]:
    for number, item in enumerate(listed):
        if number >= MOST_OBJECTS:
            raise DataError(
                f"There are more than {MOST_OBJECTS:,} objects at {source}.", hint="Name a folder in it."
            )
        yield item


def _is_plain(path: str) -> bool:
    """As in a folder: neither hidden, nor a mark of an empty folder, nor what would lead out of one."""
    return "\0" not in path and not any(part.startswith((".", "__")) or not part for part in path.split("/"))


def likeness(storage: S3Storage, cache: Path) -> Path | None:
    """
    A folder with files of the same names, of which only those that describe others have a content.

    None: there are none that do, so that names say all.
    """
    files = storage.files
    told = [path for path in files if posixpath.basename(path) in (*CARD, *DESCRIPTIONS)]
    if not told and not any(is_sharded(path) for path in files):
        return None
    made = cache / "likeness" / digest_of([[path, storage.identity(path)] for path in files])[:32]
    if made.exists():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent) as temporary:
        root = Path(temporary) / "files"
        for path in files:
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(storage.read(path, 0, storage.size(path)) if path in told else b"")
        try:
            root.replace(made)
        except OSError:
            if not made.exists():  # another process was faster
                raise
    return made
