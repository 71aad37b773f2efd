"""
The command line: parse, wire, print.

A command's module is imported when the command is used, so that `--help` answers at once; what every command
needs (options, console, exit codes) imports nothing heavy.
"""

from __future__ import annotations

import io
import os
import sys

import click

from vlm_runner.cli.commands import SECTIONS
from vlm_runner.cli.console import say
from vlm_runner.cli.exit_codes import EXIT_CODES, exit_code
from vlm_runner.cli.exit_message import write_exit_message
from vlm_runner.cli.lazy_group import LazyGroup
from vlm_runner.errors import VlmRunnerError


@click.group(
    cls=LazyGroup,
    lazy=SECTIONS,
    epilog=f"Exit codes: {', '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="vlm-runner", prog_name="vlm-runner")
def cli() -> None:
    """Fine-tune vision-language models on Amazon Bedrock, end to end, once, at a known cost.

    A run uploads a dataset to S3, trains a model, serves it, tests it, and deletes what bills;
    after a crash it continues where it was, without paying twice.

    \b
    Example:
        vlm-runner demo             try it, no AWS account
        vlm-runner init             write a run.toml
        vlm-runner start run.toml   run it
        vlm-runner resume RUN       continue it
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
    # Where stderr is a log, every line of it counts as one of ours.
    say(f"vlm-runner: {text if sys.stderr.isatty() else ' '.join(text.split())}")
