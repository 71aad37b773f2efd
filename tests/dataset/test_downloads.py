"""What reading from the Hub costs and how it fails: the bytes are told, and what passes is no row's fault."""

from __future__ import annotations

import errno
import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

from vlm_runner.dataset import storage, table
from vlm_runner.dataset.downloads import Downloads, listening
from vlm_runner.dataset.images import NoImageError
from vlm_runner.dataset.storage import HubStorage
from vlm_runner.errors import ConfigurationError, OutOfResources, SourceUnavailable

from .hub_server import Hub, Repo, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    repo = Repo()
    repo.commit({"a.png": b"x" * 5000, "b.parquet": b"y" * 9000})
    with serving(Hub({"me/pages": repo})) as running:
        yield running


def storage_of(hub: Hub | None = None) -> tuple[HubStorage, Downloads]:
    downloads = Downloads()
    commit = "0" * 40 if hub is None else str(hub.repos["me/pages"].resolve("main"))
    endpoint = None if hub is None else hub.url
    return HubStorage("me/pages", commit, token=None, endpoint=endpoint, downloads=downloads), downloads


def test_files_and_parts_of_files_are_counted_and_told(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("vlm_runner.dataset.downloads.EVERY", float("inf"))
    told: list[tuple[str, int]] = []

    with listening(lambda file, size, _: told.append((file, size))):
        pages, downloads = storage_of(hub)
        pages.image("a.png")
        pages.read("b.parquet", 100, 400)
        pages.image("a.png")  # which is here now

    assert downloads.bytes == 5300
    assert told == [("a.png", 5000)]  # and what follows within EVERY is not worth another line
    pages.read("b.parquet", 0, 10)
    assert (downloads.bytes, len(told)) == (5310, 1)


def test_what_the_library_downloads_is_counted_and_draws_no_bar_over_ours() -> None:
    counted: list[int] = []
    terminal = io.StringIO()

    with storage._counter(counted.append)(total=10, desc="a.png", file=terminal, disable=False) as bar:
        bar.update(4)
        bar.update(6)
        bar.refresh()

    assert counted == [4, 6]
    assert bar.disable
    assert not terminal.getvalue()


def refusal(status: int) -> HfHubHTTPError:
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None, text="")
    return HfHubHTTPError(f"HTTP {status}", response=response)


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (LocalEntryNotFoundError("no connection"), SourceUnavailable, "a.png of the dataset me/pages"),
        (refusal(503), SourceUnavailable, "HTTP 503"),
        (refusal(429), SourceUnavailable, "nothing is lost"),
        (OSError(errno.ENOSPC, "No space left on device"), OutOfResources, "Free space there"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), OutOfResources, "resume"),
        (OSError(errno.EROFS, "Read-only file system"), ConfigurationError, "HF_HOME"),
        (EntryNotFoundError("404"), NoImageError, "cannot be read from 'a.png'"),
        (refusal(403), NoImageError, "HTTP 403"),
    ],
    ids=str,
)
def test_a_row_is_bad_by_what_the_hub_holds_and_not_by_what_passes(
    error: Exception, expected: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With on_bad_row = "skip" a row would be left out because the network was away."""

    def failing(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", failing)

    with pytest.raises(expected, match=said):
        storage_of()[0].image("a.png")


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.ENOSPC, OutOfResources), (errno.EACCES, ConfigurationError)]
)
def test_a_disk_that_is_full_leaves_no_half_a_file(
    code: int, expected: type[Exception], tmp_path: Path
) -> None:
    def half() -> None:
        with table.writing(tmp_path / "part") as made:
            made.write_bytes(b"half")
            raise OSError(code, "as the disk says")

    with pytest.raises(expected, match="cannot be kept"):
        half()

    assert list(tmp_path.iterdir()) == []
