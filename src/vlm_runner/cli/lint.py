"""lint: every row and image against the model's rules."""

from __future__ import annotations

from typing import Any

import click

from vlm_runner.cli.options import json_option, where_options


@click.command()
@click.argument("source", metavar="SPEC|JSONL")
@click.option("--model", metavar="ID", help="The base model, for a JSONL file.")
@click.option("--validation", metavar="JSONL", help="The validation file that goes with a JSONL file.")
@click.option("--images", metavar="s3|none|FOLDER", help="Where to read a JSONL file's images.")
@click.option("--fix", is_flag=True, help="Change the spec where a setting solves a finding.")
@click.option("--all", "every", is_flag=True, help="Show every finding, not the first of each code.")
@click.option("--sarif", type=click.Path(dir_okay=False), help="Write SARIF 2.1.0 there; - is stdout.")
@json_option
@where_options
def lint(**given: Any) -> None:
    """Check every row of SPEC's dataset, or of a Bedrock JSONL file.

    Exits with 3 on errors. Needs no AWS, unless data or images are in S3. Changes nothing;
    --fix edits the spec, never the data.

    \b
    Example:
        vlm-runner lint run.toml
        vlm-runner lint run.toml --fix
        vlm-runner lint data/train.jsonl --model amazon.nova-lite-v1:0:300k --images ./copy
        vlm-runner lint s3://bucket/data/train.jsonl --model amazon.nova-lite-v1:0:300k --sarif out.sarif
    """
    from vlm_runner.cli.lint_source import lint_source  # noqa: PLC0415 - not for --help

    lint_source(**given)
