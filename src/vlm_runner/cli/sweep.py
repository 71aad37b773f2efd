"""sweep: many runs that differ in a few values."""

from __future__ import annotations

from typing import Any

import click

from vlm_runner.cli.options import doctor_option, json_option, verbosity_options, where_options, yes_option


@click.command()
@click.argument("sweep_file", metavar="SWEEP", type=click.Path(dir_okay=False))
@yes_option
@click.option("--dry-run", is_flag=True, help="List the runs; change nothing.")
@doctor_option
@json_option
@verbosity_options
@where_options
def sweep(**given: Any) -> None:
    """Run every combination of SWEEP, and compare them.

    Shows what all runs cost together, and asks once. Images are uploaded once; jobs and throughputs are taken
    in turn, as many at a time as the file says. Starting the same sweep again resumes each of its runs.

    The comparison ranks by `metric`: validation_loss, or a score of the test answers with its 95 % interval
    (bootstrap over rows), and says which runs are within noise of the best.

    \b
    Example:
        vlm-runner sweep sweep.toml --dry-run

    \b
    A sweep.toml:
        spec = "run.toml"
        jobs = 2
        [grid]
        "training.hyperparameters.learningRate" = [0.00001, 0.00005]
        "training.hyperparameters.epochCount" = [1, 2, 3]

    \b
    Prompts, ranked by their answers; ended once two runs in a row were no better:
        metric = "similarity"
        stop_after = 2
        [grid]
        "prompt.user" = [{ file = "short.txt" }, { file = "long.txt" }]
        "dataset.max_rows" = [200, 1000]
    """
    from vlm_runner.cli.sweep_runs import sweep_runs  # noqa: PLC0415 - not for --help

    sweep_runs(**given)
