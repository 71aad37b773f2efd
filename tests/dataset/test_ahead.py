"""Images of a remote source: many are fetched at once, under bounds, for the rows that name them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from vlm_runner.dataset import ahead
from vlm_runner.dataset.ahead import MOST_WAITING, Ahead, Kept
from vlm_runner.dataset.images import NoImageError

if TYPE_CHECKING:
    from pathlib import Path


class Slow:
    """A source whose images take until `together` of them were asked for."""

    def __init__(self, together: int = 1, size: int = 3) -> None:
        self.asked: list[str] = []
        self._size = size
        self._barrier = threading.Barrier(together)
        self._lock = threading.Lock()

    def image(self, path: str) -> bytes:
        with self._lock:
            self.asked.append(path)
        self._barrier.wait(10)
        if path == "gone":
            raise NoImageError("I103", "is gone")
        return path.encode() + b"." * self._size

    def fetched(self, address: str) -> bytes:
        return address.encode()

    def stored(self, address: str, owner: str | None) -> bytes:
        return self.image(f"{address} of {owner}")


def settled(many: Ahead) -> None:
    """When all that was asked for has come."""
    many._pool.shutdown()
    many._pool = ThreadPoolExecutor(2)


def test_what_is_expected_is_asked_for_at_once() -> None:
    source = Slow(together=8)
    many = Ahead(source, files=True)

    many.expect(
        [(f"{number}.png", None) for number in range(6)] + [("s3://b/k", "1" * 12), ("s3://b/k", None)]
    )

    assert [many.image(f"{number}.png") for number in range(6)] == [b"%d.png..." % n for n in range(6)]
    assert many.stored("s3://b/k", "1" * 12) == b"s3://b/k of 111111111111..."
    assert many.stored("s3://b/k", None) == b"s3://b/k of None..."
    assert len(source.asked) == 8


def test_a_failure_is_met_by_the_row_that_names_it_and_asked_for_again() -> None:
    source = Slow()
    many = Ahead(source, files=True)
    many.expect([("gone", None)])

    for _ in range(2):
        with pytest.raises(NoImageError, match="is gone"):
            many.image("gone")

    assert source.asked == ["gone", "gone"]


def test_files_on_this_machine_and_addresses_are_not_asked_for_before() -> None:
    source = Slow()
    many = Ahead(source, files=False)

    many.expect([("0.png", None), ("https://a/b.png", None), ("s3://b/k", None)])
    settled(many)

    assert source.asked == ["s3://b/k of None"]
    assert many.fetched("https://a/b.png") == b"https://a/b.png"


def test_no_more_images_wait_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Slow()
    many = Ahead(source, files=True)
    many.expect([(str(number), None) for number in range(200)])
    settled(many)
    assert len(source.asked) == MOST_WAITING

    many.forget([(str(number), None) for number in range(200)])
    monkeypatch.setattr(ahead, "MOST_WAITING_BYTES", 10)
    for number in range(5):
        many.expect([(f"{number}.png", None)])
        settled(many)

    assert len(source.asked) == MOST_WAITING + 2, "two of eight bytes fill it"


def test_what_was_kept_is_there_until_the_bound(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "made", most=10)
    kept.put("a", b"12345")
    kept.put("b", b"123456")
    kept.put("c", b"54321")

    assert [kept.get(name) for name in "abcd"] == [b"12345", None, b"54321", None]
    assert list((tmp_path / "made").iterdir()) == [], "it has no name, so it ends with the process"


def test_a_disk_that_cannot_keep_ends_the_keeping_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = Kept(tmp_path / "file" / "folder")

    kept.put("a", b"12345")

    assert kept.get("a") is None
