"""
The command line: parse, wire, print.

Nothing heavy is imported here or in the modules below until a command needs it, so that `--help` answers
at once.
"""

from __future__ import annotations

import os
import sys

import click

from vlm_runner.cli.demo import demo
from vlm_runner.cli.doctor import doctor
from vlm_runner.cli.health import health
from vlm_runner.cli.iam import iam
from vlm_runner.cli.lint import lint
from vlm_runner.cli.plan import plan
from vlm_runner.cli.preview import preview
from vlm_runner.cli.reap import reap
from vlm_runner.cli.report import report
from vlm_runner.cli.sagemaker import sagemaker
from vlm_runner.cli.sandbox import sandbox
from vlm_runner.cli.show import events, list_runs, status
from vlm_runner.cli.stage import stage
from vlm_runner.cli.start import cancel, resume, start
from vlm_runner.cli.submit import submit
from vlm_runner.cli.sweep import sweep
from vlm_runner.cli.watch import watch
from vlm_runner.cli.write_spec import init


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="vlm-runner", prog_name="vlm-runner")
def cli() -> None:
    """Fine-tune vision-language models on Amazon Bedrock, end to end, once, at a known cost.

    \b
    A dataset goes to S3, a customization job is run, its model is served, tested, and released;
    after a crash a run goes on where it was, without paying twice.

    \b
    Example:
        vlm-runner demo                  the whole job on your laptop, no AWS account
        vlm-runner init                  write a commented run.toml
        vlm-runner start run.toml        do it
        vlm-runner resume RUN            go on after whatever happened

    Exit codes: 0 succeeded, 2 usage, 3 the dataset is refused, 4 configuration or credentials,
    5 AWS refused, 75 stopped and resumable, 100 the run failed, 101 not finished, 102 not found,
    103 cancelled, 104 ended but something may still bill, 130 interrupted twice.
    """


_BEFORE = (init, lint, preview, doctor, iam, plan)
_RUNS = (start, resume, status, list_runs, events, watch, cancel, report, reap)
_ELSEWHERE = (sweep, submit, sagemaker, stage, health, demo, sandbox)
for _command in (*_BEFORE, *_RUNS, *_ELSEWHERE):
    cli.add_command(_command)


def main() -> None:
    """The `vlm-runner` entry point."""
    from vlm_runner.errors import VlmRunnerError

    try:
        cli.main(standalone_mode=False)
    except VlmRunnerError as error:
        from vlm_runner.cli.exit_codes import exit_code
        from vlm_runner.cli.exit_message import write_exit_message

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
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _say(text: str) -> None:
    from vlm_runner.redact import printable, redacted

    click.echo(f"vlm-runner: {printable(redacted(text))}", err=True)
