"""track: log runs to experiment trackers that missed them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import click

from vlm_runner.cli import console
from vlm_runner.cli.options import Where, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.cli.run_argument import run_argument
from vlm_runner.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.settings import Settings


@click.command()
@run_argument(several=True)
@where_options
def track(run_ids: tuple[str, ...], **flags: Any) -> None:
    """Log RUN to MLflow, W&B or TensorBoard.

    Where VLM_RUNNER_TRACKING__MLFLOW, __WANDB or __TENSORBOARD is set, runs are logged while they are
    driven; this is for runs that a tracker has missed. Logging one twice comes to the same.

    \b
    Example:
        VLM_RUNNER_TRACKING__MLFLOW=http://localhost:5000 vlm-runner track for-vlm-accessibility-3f2a9c01
    """
    anyio.run(partial(_track, settings_for(Where(**flags)), run_ids))


async def _track(settings: Settings, run_ids: Sequence[str]) -> None:
    async with Runner.open(settings) as runner:
        for run_id in dict.fromkeys(run_ids):
            names = await runner.track(run_id)
            console.say(f"{' and '.join(names)} {'has' if len(names) == 1 else 'have'} run {run_id}.")
