"""
Where a source's files lie: on this machine, on the Hub, or in S3. A file is named by its path from the root.
"""

from __future__ import annotations

import io
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from vlm_runner.dataset.addresses import AGAIN
from vlm_runner.dataset.fingerprint import FileDigests, digest_of, relative
from vlm_runner.dataset.images import NoImageError, locate, outside, read_image, unreadable_image
from vlm_runner.dataset.table import keeping, writing
from vlm_runner.errors import DataError, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from vlm_runner.dataset.downloads import Downloads

BLOCK: Final = 8 * 1024 * 1024
"""Bytes that one request for a part of a remote file asks for at most."""
MOST_SMALL: Final = 1024**3
MOST_TIMES: Final = 200
"""
Bytes that any file may unpack to, and how many for each of its own.

Texts pack to a tenth, zeros to a thousandth.
"""


class Storage(Protocol):
    @property
    def remote(self) -> bool:
        """Whether reading it takes a network."""

    def fetch(self, path: str) -> Path:
        """The whole file, on this machine. Raises DataError or OSError where that cannot be."""

    def size(self, path: str) -> int: ...

    def identity(self, path: str) -> str:
        """Another one for another content."""

    def identities(self, paths: Sequence[str]) -> list[str]:
        """The same, of many."""

    def named(self, paths: Iterable[str]) -> list[list[str]]:
        """
        Path and identity of each file that rows name, which make up the dataset beside its rows.

        None where a revision identifies all files: `paths` is then not read.
        """

    def read(self, path: str, start: int, stop: int) -> bytes:
        """A range of the file's bytes."""

    def image(self, path: str) -> bytes:
        """
        A file that a row names.

        Raises:
            NoImageError: it is not there, or not of this storage.
        """


@dataclass(frozen=True, slots=True)
class LocalStorage:
    root: Path
    digests: FileDigests
    remote: bool = field(default=False, init=False)

    def fetch(self, path: str) -> Path:
        return self.root / path

    def size(self, path: str) -> int:
        return (self.root / path).stat().st_size

    def identity(self, path: str) -> str:
        return self.identities([path])[0]

    def identities(self, paths: Sequence[str]) -> list[str]:
        files = [self.root / path for path in paths]
        digests = self.digests.of(files)
        return [digests[file] for file in files]

    def named(self, paths: Iterable[str]) -> list[list[str]]:
        files = set()
        for path in paths:
            with suppress(NoImageError):
                files.add(locate(path, self.root))
        return sorted([relative(path, self.root), digest] for path, digest in self.digests.of(files).items())

    def read(self, path: str, start: int, stop: int) -> bytes:
        with (self.root / path).open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def image(self, path: str) -> bytes:
        return read_image(locate(path, self.root), path)


class HubStorage:
    """A commit of a dataset repository; what is fetched whole lies in the Hub's own cache."""

    remote = True

    def __init__(
        self, repo: str, commit: str, *, token: str | None, endpoint: str | None, downloads: Downloads
    ) -> None:
        self._repo, self._commit, self._downloads = repo, commit, downloads
        self._token, self._endpoint = token, endpoint
        self._sizes: dict[str, int] = {}
        self._system: Any = None

    def fetch(self, path: str) -> Path:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - heavy, and only the Hub needs it
        from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415

        with of_the_hub(f"{path} of the dataset {self._repo}"), keeping(HF_HUB_CACHE):
            return Path(
                hf_hub_download(
                    self._repo,
                    path,
                    repo_type="dataset",
                    revision=self._commit,
                    token=self._token,
                    endpoint=self._endpoint,
                    tqdm_class=_counter(partial(self._downloads.add, path)),
                )
            )

    def size(self, path: str) -> int:
        if path not in self._sizes:
            with of_the_hub(f"{path} of the dataset {self._repo}"):
                info = self._files().info(self._url(path), expand_info=False)
            self._sizes[path] = int(info["size"])
        return self._sizes[path]

    def identity(self, path: str) -> str:
        return digest_of("hub", self._repo, self._commit, path)

    def identities(self, paths: Sequence[str]) -> list[str]:
        return [self.identity(path) for path in paths]

    def named(self, paths: Iterable[str]) -> list[list[str]]:  # noqa: ARG002 - the commit says it
        return []

    def read(self, path: str, start: int, stop: int) -> bytes:
        # Without a cache: exactly these bytes are asked for.
        with (
            of_the_hub(f"{path} of the dataset {self._repo}"),
            self._files().open(self._url(path), "rb", cache_type="none", block_size=BLOCK) as file,
        ):
            file.seek(start)
            body = bytes(file.read(stop - start))
        self._downloads.add(path, len(body))
        return body

    def image(self, path: str) -> bytes:
        from huggingface_hub.errors import EntryNotFoundError  # noqa: PLC0415 - see above

        inside = os.path.normpath(path).replace(os.sep, "/")
        if inside.startswith(("/", "..")) or "\0" in path:
            raise outside(path)
        try:
            return self.fetch(inside).read_bytes()
        except (EntryNotFoundError, OSError) as error:
            raise unreadable_image(path, error) from None

    def _url(self, path: str) -> str:
        return f"datasets/{self._repo}@{self._commit}/{path}"

    def _files(self) -> Any:
        if self._system is None:
            from huggingface_hub import HfFileSystem  # noqa: PLC0415 - see above

            self._system = HfFileSystem(endpoint=self._endpoint, token=self._token)
        return self._system


@contextmanager
def of_the_hub(what: str) -> Iterator[None]:
    """
    Around what asks the Hub.

    Raises:
        SourceUnavailable: it does not answer, or not now. Everything else is as it was.
    """
    try:
        yield
    except Exception as error:
        if not passes(error):
            raise
        said = " ".join(str(error).split("\n")[:2]).strip() or type(error).__name__
        raise SourceUnavailable(
            f"{what} cannot be read: {said.rstrip('.')}.",
            hint="Check the network and HF_ENDPOINT, and start again: nothing is lost.",
        ) from error


def passes(error: BaseException) -> bool:
    """Whether the network or the Hub may do better later: errors of the HTTP library and of the Hub's own."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if is_offline():
        return False
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status in AGAIN or bool(kinds & {"TransportError", "LocalEntryNotFoundError"})


def is_offline() -> bool:
    from huggingface_hub.constants import HF_HUB_OFFLINE  # noqa: PLC0415 - heavy, and only the Hub needs it

    return bool(HF_HUB_OFFLINE)


def _counter(add: Callable[[int], None]) -> Any:
    """Instead of the library's progress bar, which would draw over ours."""
    from huggingface_hub.utils.tqdm import tqdm  # noqa: PLC0415 - heavy, and only the Hub needs it

    class Counter(tqdm):
        def __init__(self, *given: Any, **settings: Any) -> None:
            super().__init__(*given, **settings | {"disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            add(int(n or 0))
            return None

    return Counter


def blocks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    while start < stop:
        yield start, min(start + BLOCK, stop)
        start += BLOCK


def unpacked(storage: Storage, path: str, cache: Path) -> Path:
    """The file without its compression, by its name's ending: in `cache` if it has one."""
    kind = compression(path)
    if kind is None:
        return storage.fetch(path)
    made = cache / f"{digest_of('unpacked', storage.identity(path))[:32]}"
    if not made.exists():
        with writing(made) as temporary, decompressed(storage, path) as source, temporary.open("wb") as sink:
            most = most_unpacked(storage.fetch(path).stat().st_size)
            while piece := source.read(BLOCK):
                if sink.tell() + len(piece) > most:
                    raise unpacks_to_more(path, most)
                sink.write(piece)
    return made


def most_unpacked(size: int) -> int:
    """Bytes that a file, or a part of it, of `size` bytes may unpack to."""
    return MOST_SMALL + MOST_TIMES * size


def unpacks_to_more(path: str, most: int) -> DataError:
    return DataError(
        f"{path} cannot be read: it unpacks to more than {most:,} bytes.",
        hint="Is it a decompression bomb? If not, unpack it beside the dataset's other files.",
    )


COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}


def compression(path: str) -> str | None:
    return next((kind for ending, kind in COMPRESSIONS.items() if path.lower().endswith(ending)), None)


def decompressed(storage: Storage, path: str) -> io.BufferedReader:
    """The file's bytes as a stream, without its compression."""
    kind = compression(path)
    if kind == "gzip":
        import gzip  # noqa: PLC0415

        return io.BufferedReader(gzip.open(storage.fetch(path)))
    if kind == "zstd":
        import pyarrow as pa  # noqa: PLC0415 - heavy, and here a dataset is open already

        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(storage.fetch(path))), "zstd"))
    return io.BufferedReader(io.FileIO(storage.fetch(path)))
