"""release: an endpoint that a finished run kept, given back."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.cli import console
from vlm_runner.cli.exit_codes import STILL_BILLING, STOPPED, exit_code
from vlm_runner.cli.options import Where, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.run_argument import run_argument
from vlm_runner.cli.run_view import RunView
from vlm_runner.errors import VlmRunnerError
from vlm_runner.runner import Runner

if TYPE_CHECKING:
    from vlm_runner.settings import Settings


@click.command()
@run_argument()
@where_options
def release(run_id: str, **flags: Any) -> None:
    """Delete the endpoint that RUN was asked to keep.

    Its dead man's switch is deleted too. Returns once the endpoint is seen to be gone, which takes about two
    minutes. Exits with 75 or 104 if it may still be there.

    \b
    Example:
        vlm-runner release for-vlm-accessibility-3f2a9c01
    """
    sys.exit(anyio.run(partial(_release, settings_for(Where(**flags)), run_id)))


async def _release(settings: Settings, run_id: str) -> int:
    async with Runner.open(settings) as runner:
        kept = RunView.of(before := await runner.get(run_id))
        bills = before.done and kept.handed_over and kept.may_bill
        if bills:
            console.say(f"Deleting {kept.endpoint_arn}, and looking until it is gone.")
        try:
            run = RunView.of(await runner.release(run_id))
        except VlmRunnerError as error:
            if not bills or exit_code(error) == STOPPED:
                raise
            # An exit code must not hide that something bills.
            console.say(f"{error}\n{kept.endpoint_arn} may still bill. Repeat: vlm-runner release {run_id}")
            return STILL_BILLING
    console.say(f"Run {run_id} has no endpoint{' any more' if run.handed_over else ''}.")
    return 0
