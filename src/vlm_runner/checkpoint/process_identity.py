"""Which process this is, and whether another one on this machine is provably gone."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlm_runner.checkpoint.document import Holder

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def this_process(version: str) -> Holder:
    """A new identity for one claim of this process."""
    from vlm_runner.checkpoint.document import Holder  # noqa: PLC0415 - `is_dead` does without its models

    pid = os.getpid()
    return Holder(
        id=uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=pid,
        boot_id=_boot_id(),
        pid_namespace=_pid_namespace(),
        pid_started=_started(pid) or "",
        version=version,
    )


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """What of a `Holder` tells its process from all others on this machine."""

    pid: int
    boot_id: str
    pid_namespace: str
    pid_started: str


def is_dead(holder: Holder | ProcessIdentity) -> bool:
    """
    True if the holder was a process of this machine, since this boot, that no longer runs.

    False if that cannot be known: then the lease must expire.
    """
    boot, namespace = _boot_id(), _pid_namespace()
    if not boot or not namespace or (holder.boot_id, holder.pid_namespace) != (boot, namespace):
        return False
    return bool(holder.pid_started) and _started(holder.pid) != holder.pid_started


@cache
def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return BOOT_ID.read_text().strip()
    return ""


@cache
def _pid_namespace() -> str:
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _started(pid: int) -> str | None:
    """The start time of a live process in clock ticks (proc(5), stat field 22); None if it is not running."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # A killed process whose parent has not collected it yet is a zombie: it runs no more.
    return None if fields[0] in {"Z", "X"} else fields[19]
