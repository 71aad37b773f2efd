"""The disk: after whatever happens the old checkpoint is there, or the new one, whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Self

import pytest

from vlm_runner.checkpoint.base import Replaced
from vlm_runner.checkpoint.local import LocalStore
from vlm_runner.errors import StoreUnavailable

CALLS = ("write", "fsync", "replace", "fsync folder")


class PowerLoss(BaseException):
    pass


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def state(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "cats" / "state.json"


@pytest.mark.parametrize("point", range(4))
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
async def test_a_crash_leaves_the_old_or_the_new_never_a_mix(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: int, late: bool
) -> None:
    old, new = b"old" * 1000, b"new" * 2000
    version = await store.write("cats", old, replacing=None)

    with monkeypatch.context() as patch:
        seen = _lose_power_at(patch, point, late)
        with pytest.raises(PowerLoss):
            await store.write("cats", new, replacing=version)

    assert seen == list(CALLS[: point + 1])
    assert state(tmp_path).read_bytes() in {old, new}
    assert state(tmp_path).read_bytes() == (new if (point, late) >= (2, True) else old)


def _lose_power_at(patch: pytest.MonkeyPatch, point: int, late: bool) -> list[str]:  # noqa: C901 - one wrapper a call
    """Die before or after the `point`-th call that changes the disk; return the calls that were made."""
    seen: list[str] = []
    real_fsync, real_replace, real_fdopen = os.fsync, Path.replace, os.fdopen

    def step(name: str, act: object) -> object:
        seen.append(name)
        here = len(seen) - 1 == point
        if here and not late:
            raise PowerLoss
        result = act()  # type: ignore[operator]
        if here:
            raise PowerLoss
        return result

    def fsync(handle: int) -> None:
        name = "fsync folder" if Path(f"/proc/self/fd/{handle}").is_dir() else "fsync"
        step(name, lambda: real_fsync(handle))

    def replace(self: Path, target: Path) -> None:
        step("replace", lambda: real_replace(self, target))

    def fdopen(handle: int, mode: str) -> object:
        file = real_fdopen(handle, mode)
        if "w" not in mode:
            return file
        real_write = file.write

        class Writing:
            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(self, body: bytes) -> None:
                step("write", lambda: real_write(body))

            def flush(self) -> None:
                file.flush()

            def fileno(self) -> int:
                return int(file.fileno())

        return Writing()

    patch.setattr(os, "fsync", fsync)
    patch.setattr(os, "fdopen", fdopen)
    patch.setattr(Path, "replace", replace)
    return seen


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
async def test_a_disk_that_refuses_leaves_the_old_checkpoint(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    version = await store.write("cats", b"old", replacing=None)

    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StoreUnavailable, match=os.strerror(code)):
            await store.write("cats", b"new", replacing=version)

    assert state(tmp_path).read_bytes() == b"old"
    assert [path.name for path in state(tmp_path).parent.iterdir() if path.suffix == ".tmp"] == []


async def test_what_a_killed_writer_left_is_swept(store: LocalStore, tmp_path: Path) -> None:
    version = await store.write("cats", b"old", replacing=None)
    leftover = state(tmp_path).parent / ".state.json.abc.tmp"
    leftover.write_bytes(b"half a checkp")

    await store.write("cats", b"new", replacing=version)

    assert not leftover.exists()


async def test_only_its_owner_can_read_it(store: LocalStore, tmp_path: Path) -> None:
    await store.write("cats", b"old", replacing=None)

    assert state(tmp_path).stat().st_mode & 0o077 == 0


async def test_an_edit_by_hand_is_noticed(store: LocalStore, tmp_path: Path) -> None:
    version = await store.write("cats", b"old", replacing=None)
    state(tmp_path).write_bytes(b"edited")

    with pytest.raises(Replaced):
        await store.write("cats", b"new", replacing=version)
