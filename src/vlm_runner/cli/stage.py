"""stage: one machine's share of uploading a run's images."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.cli import console
from vlm_runner.cli.options import Where, verify_option, where_options
from vlm_runner.cli.resolve import settings_for, verifying
from vlm_runner.cli.run_argument import run_argument
from vlm_runner.errors import UsageError
from vlm_runner.runner import Runner
from vlm_runner.sagemaker.hosts import part_of
from vlm_runner.watch.log import LogWatcher, configure_logging

if TYPE_CHECKING:
    from vlm_runner.core.events import ImagesStaged
    from vlm_runner.settings import Settings


@click.command()
@run_argument()
@click.option("--part", metavar="I/N", help="The I-th of N shares, from 1. Default: SageMaker's, or all.")
@verify_option
@where_options
def stage(run_id: str, part: str | None, *, verify: bool, **flags: Any) -> None:
    """Upload this machine's share of RUN's images.

    Several machines may do it at once, and repeat it: what is uploaded already is skipped, and the run
    itself does not change. `vlm-runner resume RUN` then uploads what is missing.

    \b
    Example:
        vlm-runner stage RUN --part 2/4
    """
    settings = verifying(settings_for(Where(**flags)), verify=verify)
    number, parts = _share(part) if part else part_of(settings.processing.resource_config)
    staged = anyio.run(partial(_stage, settings, run_id, number, parts))
    if staged is None:
        console.say(f"All images of run {run_id} are uploaded already.")
        return
    shares = [staged.train, *([staged.validation] if staged.validation else [])]
    uploaded = sum(one.images_uploaded for one in shares)
    skipped = sum(one.shards_skipped for one in shares)
    console.result(
        f"Share {number + 1} of {parts}: {uploaded} images uploaded, {skipped} shards were uploaded before."
    )


async def _stage(settings: Settings, run_id: str, number: int, parts: int) -> ImagesStaged | None:
    configure_logging("json", "normal")
    async with Runner.open(settings, watchers=[LogWatcher()]) as runner:
        return await runner.stage(run_id, number=number, parts=parts)


def _share(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"'{text}' is not a share; write it as 2/4.")
    return int(match[1]) - 1, int(match[2])
