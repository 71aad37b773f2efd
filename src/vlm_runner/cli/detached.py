"""A process of its own that drives a run, watched until it does."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from vlm_runner.checkpoint import lease
from vlm_runner.cli import console
from vlm_runner.cli.exit_codes import exit_code
from vlm_runner.errors import VlmRunnerError
from vlm_runner.paths import default_checkpoint_folder
from vlm_runner.stores import opened_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.cli.options import Where
    from vlm_runner.json_output import DetachedRunJson
    from vlm_runner.settings import Settings

CLAIM_SECONDS = 60.0
"""How long the new process is waited for; it needs a second or two, unless it waits for another driver."""
LOOK_EVERY = 0.2
SHOWN_LINES = 5
"""Of the log of a process that ended at once."""


def begin_detached(settings: Settings, run_id: str, words: list[str]) -> tuple[int, str, Path]:
    """
    Start `resume RUN` with these words in the background, and wait until it drives the run.

    Returns the exit code of this command (that of the new process where it ended without driving), a
    sentence, and the path of its log.
    """
    uri = settings.checkpoint_uri or ""
    local = Path(uri) if uri and "://" not in uri else default_checkpoint_folder()
    log = local / "runs" / run_id / "driver.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        before = out.tell()
        process = subprocess.Popen(  # noqa: S603 - our own command line
            [sys.executable, "-m", "vlm_runner", "resume", run_id, *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    claimed = anyio.run(_claimed, settings, run_id, process)
    if claimed is None:
        waits = f"Run {run_id} has no driver yet: process {process.pid} waits for it; its log is {log}."
        return 0, waits, log
    if claimed:
        return 0, f"Run {run_id} continues in the background; its log is {log}.", log
    with log.open("rb") as said:
        said.seek(before)
        last = said.read().decode(errors="replace").strip().splitlines()[-SHOWN_LINES:]
    reason = "\n".join(["", *last]) if last else ""
    return process.returncode, f"The process that was to drive run {run_id} ended.{reason}", log


def say_detached(
    settings: Settings,
    run_id: str,
    where: Where,
    words: Sequence[str],
    *,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """`begin_detached`, with the flags of this command too; print what came of it, and return its code."""
    flags = where.repeated(settings)
    spoken = [*(["--quiet"] if quiet else []), *(["--verbose"] if verbose else [])]
    code, said, log = begin_detached(settings, run_id, [*flags, *spoken, *words])
    console.say(said)
    if code == 0:
        reach = shlex.join(flags)
        console.say(
            f"Check progress: {f'vlm-runner status {run_id} {reach}'.rstrip()}    "
            f"or: {f'vlm-runner events {run_id} -f {reach}'.rstrip()}"
        )
    if as_json:
        shown: DetachedRunJson = {"run_id": run_id, "log": str(log)}
        console.result_json(shown)
    else:
        console.result(run_id)
    return code


async def _claimed(settings: Settings, run_id: str, process: subprocess.Popen[bytes]) -> bool | None:
    """True once `process` holds the run, or is done with it; False if it ended without; None: not yet."""
    with anyio.move_on_after(CLAIM_SECONDS):
        async with opened_store(settings) as store:
            while True:
                ended = process.poll() is not None
                try:
                    checkpoint, _ = await lease.load(store, run_id)
                except VlmRunnerError as error:
                    if ended:
                        return exit_code(error) == 0
                else:
                    holder = checkpoint.holder
                    if holder is not None and holder.pid == process.pid:
                        return True
                    if ended:
                        return process.returncode == 0
                await anyio.sleep(LOOK_EVERY)
    return None
