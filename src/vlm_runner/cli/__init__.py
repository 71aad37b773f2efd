"""
The command line: parse, wire, print.

A command's module is imported when the command is used, so that `--help` answers at once; what every command
needs (options, console, exit codes) imports nothing heavy.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Final

import click

from vlm_runner.cli.exit_codes import EXIT_CODES, exit_code
from vlm_runner.cli.exit_message import write_exit_message
from vlm_runner.cli.lazy_group import LazyCommand, LazyGroup
from vlm_runner.errors import VlmRunnerError
from vlm_runner.redact import printable, redacted

_SECTIONS: Final = {
    "Start here": (
        ("demo", "demo:demo", "Run the whole job in a local sandbox: no AWS account, no cost."),
        ("init", "write_spec:init", "Write a commented spec for Amazon Nova Lite."),
        ("lint", "lint:lint", "Check every row of SPEC's dataset, or of a Bedrock JSONL file."),
        ("preview", "preview:preview", "Show one row as the model will see it, with its lint findings."),
        ("doctor", "doctor:doctor", "Check credentials, model, role, bucket, quotas and store."),
        ("plan", "plan:plan", "Show what SPEC would create, upload and cost; runs lint and doctor."),
        ("start", "start:start", "Run SPEC and show its progress; resume the run if it exists."),
        ("resume", "start:resume", "Continue RUN from where it is, on any machine with its checkpoint."),
        ("cancel", "start:cancel", "Stop what RUN pays for, delete it, and report."),
    ),
    "Use": (
        ("serve", "serve:serve", "Serve the model of a finished RUN again."),
        ("release", "release:release", "Delete the endpoint that RUN was asked to keep."),
        ("ask", "ask:ask", "Ask the model of RUN one question, while it is served."),
        (
            "models",
            "models:models",
            "List the custom models that runs trained: base, scores, age, use, storage.",
        ),
        ("keep", "models:keep", "Mark the model of RUN to be kept: no reap deletes it, and delete refuses."),
        (
            "delete",
            "models:delete",
            "Delete RUN: endpoint, model, answers, and what of its data no other run uses.",
        ),
    ),
    "Watch": (
        ("status", "status:status", "Show the state of RUN."),
        (
            "list",
            "list_runs:list_runs",
            "List the runs of a store: state, phase, cost, what may bill.",
        ),
        ("watch", "watch:watch", "Follow RUN in the terminal or in a browser."),
        ("events", "events:events", "Print RUN's history as JSON lines, one event a line."),
        ("report", "report:report", "Write an HTML page about RUN, or compare several runs."),
        ("track", "track:track", "Log RUN to MLflow, W&B or TensorBoard."),
    ),
    "Money": (
        ("prices", "prices:prices", "Show what MODEL costs, with source and date."),
        ("cost", "cost:cost", "Show what AWS billed for RUN, by its tags; AWS charges one cent to look."),
        ("reap", "reap:reap", "Delete endpoints of vlm-runner that outlived their run."),
    ),
    "Operate": (
        ("iam", "iam:iam", "Print the IAM policies that SPEC needs."),
        ("verify", "verify:verify", "Prove on your own account what vlm-runner assumes of AWS."),
        ("submit", "submit:submit", "Check SPEC, save the run, and drive it in an ECS task."),
        ("stage", "stage:stage", "Upload this machine's share of RUN's images."),
        ("sagemaker", "sagemaker:sagemaker", "Run a spec as a SageMaker Pipeline."),
        ("sweep", "sweep:sweep", "Run every combination of SWEEP, and compare them."),
        ("sandbox", "sandbox:sandbox", "Simulate AWS on your machine, with a clock that can run faster."),
        (
            "completion",
            "completion:completion",
            "Print what makes SHELL (bash, zsh or fish) complete commands, flags, run ids and models.",
        ),
        ("health", "health:health", "Check the heartbeat of a runner on this machine."),
    ),
}
"""By what commands are for: name, place, and summary, which a test compares with the command's own help."""
SECTIONS: Final = {
    title: {name: LazyCommand(f"vlm_runner.cli.{path}", summary) for name, path, summary in commands}
    for title, commands in _SECTIONS.items()
}
COMMANDS: Final = {name: command for section in SECTIONS.values() for name, command in section.items()}


@click.group(
    cls=LazyGroup,
    lazy=SECTIONS,
    epilog=f"Exit codes: {', '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="vlm-runner", prog_name="vlm-runner")
def cli() -> None:
    """Fine-tune vision-language models on Amazon Bedrock, end to end, once, at a known cost.

    \b
    A run uploads a dataset to S3, trains a model, serves it, tests it, and deletes what bills;
    after a crash it continues where it was, without paying twice.

    \b
    Example:
        vlm-runner demo                  the whole job on your machine, no AWS account
        vlm-runner init                  write a commented run.toml
        vlm-runner start run.toml        run it
        vlm-runner resume RUN            continue after an interruption
    """


def main() -> None:
    """The `vlm-runner` entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal in Latin-1 cannot show every answer, which is no reason to end a run.
            stream.reconfigure(errors="backslashreplace")
    try:
        cli.main(standalone_mode=False)
    except VlmRunnerError as error:
        _say(str(error))
        write_exit_message(str(error))
        sys.exit(exit_code(error))
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has closed it; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _say(text: str) -> None:
    shown = printable(redacted(text))
    # Where stderr is a log, every line of it counts as one of ours.
    click.echo(f"vlm-runner: {shown if sys.stderr.isatty() else ' '.join(shown.split())}", err=True)
