"""A run of a local store as `status` shows it, read as plain JSON: in a third of the time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_runner import environment
from vlm_runner.checkpoint.integrity import read_file, verified
from vlm_runner.checkpoint.process_identity import is_dead
from vlm_runner.core.phases import Phase
from vlm_runner.core.run_status import RunStatus
from vlm_runner.errors import CheckpointError, RunNotFound
from vlm_runner.path_segment import checked_run_id
from vlm_runner.paths import STATE, default_checkpoint_folder, run_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm_runner.checkpoint.document import Checkpoint


LEAST_SILENCE = 5.0
"""Seconds: `LeaseSettings.time_to_live` cannot be less, so nobody is STALE sooner."""


class Facts:
    """A JSON object whose fields are attributes; one that it does not have is None."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._table = table

    def __getattr__(self, name: str) -> Any:
        value = self._table.get(name)
        return Facts(value) if isinstance(value, dict) else value


class SeenRun(Facts, RunStatus):
    """As `vlm_runner.core.run.Run`, to be shown."""

    def __init__(self, table: dict[str, Any]) -> None:
        super().__init__(table)
        self.phase = Phase(table["phase"])


class Seen:
    """As `vlm_runner.checkpoint.document.Checkpoint`, to be shown."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.run = SeenRun(table["run"])
        self.holder = Facts(table).holder
        saved_at = table.get("saved_at")
        self.saved_at = None if saved_at is None else datetime.fromisoformat(saved_at)


def local_root(store: str | None) -> Path | None:
    """The folder of the store that the flag, else the environment, names; None where it is no folder."""
    uri = store or environment.checkpoint_uri()
    if uri is None:
        return default_checkpoint_folder()
    return None if "://" in uri else Path(uri)


def read(root: Path, run_id: str) -> tuple[Any, str]:
    """
    The run's checkpoint, as far as it is shown, and where it is.

    Raises:
        RunNotFound: there is none.
        CheckpointError: it is damaged, or of a newer version.
    """
    path = run_folder(root, checked_run_id(run_id)) / STATE
    body = read_file(path)
    if body is None:
        raise RunNotFound(
            f"No run '{run_id}' in {root.expanduser().absolute()}.", hint="See what there is: vlm-runner list"
        )
    table = verified(body, where=str(path))
    try:
        return Seen(table), str(path)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit the schema: {error}.") from error


def state_of(checkpoint: Checkpoint, takeover_after: Callable[[], float]) -> str:
    """
    In one word: RUNNING, STOPPED, STALE, or how it ended.

    STALE: its process is gone, or has given no sign of life for longer than a successor would wait, which
    is `takeover_after` seconds by this process's settings. They are asked for only where they matter.
    """
    run = checkpoint.run
    if run.outcome is not None:
        return run.outcome.value.upper()
    if checkpoint.holder is None:
        return "STOPPED"
    silent = 0.0
    if checkpoint.saved_at is not None:
        silent = (datetime.now(UTC) - checkpoint.saved_at).total_seconds()
    gone = is_dead(checkpoint.holder) or (silent > LEAST_SILENCE and silent > takeover_after())
    return "STALE" if gone else "RUNNING"
