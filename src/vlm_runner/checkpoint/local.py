"""
Checkpoints in a local folder, one folder a run.

A write goes to a temporary file, is synced, renamed over the old one, and the folder is synced: after a
power loss the old or the new document is there, whole. A separate lock file, never renamed or removed,
makes compare-and-swap atomic between processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from functools import partial
from pathlib import Path

from anyio import to_thread
from filelock import FileLock

from vlm_runner.checkpoint.base import Replaced, Stored
from vlm_runner.checkpoint.integrity import read_file
from vlm_runner.errors import CheckpointError, StoreUnavailable
from vlm_runner.path_segment import is_path_segment
from vlm_runner.paths import STATE, run_folder

CANCEL, LOCK = "cancel.json", "state.lock"
LOCK_SECONDS = 30.0


class LocalStore:
    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().absolute()

    @property
    def uri(self) -> str:
        return str(self._root)

    async def prove(self) -> None:
        """A lock and a rename are the file system's promise; nothing to try out."""

    def locate(self, run_id: str) -> str:
        return str(self._folder(run_id) / STATE)

    async def read(self, run_id: str) -> Stored | None:
        return await to_thread.run_sync(_read, self._folder(run_id) / STATE)

    async def write(self, run_id: str, body: bytes, *, replacing: str | None) -> str:
        folder = self._folder(run_id)
        try:
            return await to_thread.run_sync(partial(_swap, folder, body, replacing))
        except OSError as error:
            raise StoreUnavailable(
                f"{folder / STATE} cannot be written: {error.strerror or error}."
            ) from error

    async def delete(self, run_id: str) -> None:
        folder = self._folder(run_id)
        try:
            await to_thread.run_sync(_delete, folder)
        except OSError as error:
            raise StoreUnavailable(f"{folder} cannot be deleted: {error.strerror or error}.") from error

    async def run_ids(self) -> list[str]:
        return await to_thread.run_sync(_list, self._root / "runs")

    async def request_cancel(self, run_id: str, reason: str) -> None:
        body = json.dumps({"reason": reason}).encode()
        path = self._folder(run_id) / CANCEL
        try:
            await to_thread.run_sync(partial(_write_once, path, body))
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be written: {error.strerror or error}.") from error

    async def cancel_reason(self, run_id: str) -> str | None:
        stored = await to_thread.run_sync(_read, self._folder(run_id) / CANCEL)
        return None if stored is None else reason_in(stored.body)

    def _folder(self, run_id: str) -> Path:
        return run_folder(self._root, run_id)


def reason_in(body: bytes) -> str:
    """A cancel mark counts however it is written: what cannot be read is an empty reason."""
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        return str(json.loads(body).get("reason", ""))
    return ""


def version_of(body: bytes) -> str:
    """Bodies carry a fresh write id, so a version never comes back."""
    return hashlib.sha256(body).hexdigest()


def _read(path: Path) -> Stored | None:
    body = read_file(path)
    return None if body is None else Stored(body, version_of(body))


def _swap(folder: Path, body: bytes, replacing: str | None) -> str:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(folder / LOCK, timeout=LOCK_SECONDS, mode=0o600):
        for leftover in folder.glob(f".{STATE}.*.tmp"):
            leftover.unlink(missing_ok=True)
        current = _read(folder / STATE)
        if (current.version if current is not None else None) != replacing:
            raise Replaced
        _replace(folder / STATE, body)
    return version_of(body)


def _replace(path: Path, body: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _delete(folder: Path) -> None:
    # The state last: while it is there, the run is listed, and can be deleted again.
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name not in {STATE, LOCK}:
            path.unlink(missing_ok=True)
    for name in (STATE, LOCK):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def _write_once(path: Path, body: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(path.parent / LOCK, timeout=LOCK_SECONDS, mode=0o600):
        if not path.exists():
            _replace(path, body)


def _list(runs: Path) -> list[str]:
    try:
        names = [folder.name for folder in runs.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"{runs} cannot be read: {error.strerror or error}.") from error
    return sorted(name for name in names if is_path_segment(name) and _holds_state(runs / name))


def _holds_state(folder: Path) -> bool:
    try:
        return (folder / STATE).is_file()
    except OSError:
        return True  # a run that this user may not read is listed as such
