"""Paths of a local checkpoint store. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vlm_runner import environment
from vlm_runner.path_segment import path_segment

if TYPE_CHECKING:
    from pathlib import Path

STATE: Final = "state.json"


def default_checkpoint_folder() -> Path:
    """One place for all runs of a user, so that `list` shows all that may bill, from any folder."""
    return environment.state_home() / "vlm-runner"


def runs_folder(root: Path) -> Path:
    """Of all runs in a local store."""
    return root.expanduser().absolute() / "runs"


def run_folder(root: Path, run_id: str) -> Path:
    """Of one run in a local store."""
    return runs_folder(root) / path_segment(run_id)
