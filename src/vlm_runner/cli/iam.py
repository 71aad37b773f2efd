"""iam: least-privilege policies and trust documents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from vlm_runner.cli import console
from vlm_runner.cli.options import Where, where_options
from vlm_runner.cli.resolve import settings_for
from vlm_runner.core.names import DEFAULT_PIPELINE, DEFAULT_STACK
from vlm_runner.doctor.checks import scope_of
from vlm_runner.doctor.documents import all_documents, verify_documents
from vlm_runner.errors import ConfigurationError
from vlm_runner.models import load_catalogue
from vlm_runner.spec import RunSpec

DOCUMENTS = (
    "role_trust",
    "role_policy",
    "caller_policy",
    "ecs_task_trust",
    "ecs_task_policy",
    "sweeper_policy",
    "submit_policy",
    "sagemaker_policy",
    "cost_policy",
    "dead_man_trust",
    "dead_man_policy",
    "verify_policy",
    "verify_switch_policy",
)


@click.command()
@click.argument("spec_file", metavar="SPEC", type=click.Path(dir_okay=False))
@click.option("--only", type=click.Choice(DOCUMENTS), help="Print one document, ready for the AWS CLI.")
@click.option("--verify", is_flag=True, help="Print what `vlm-runner verify` needs in addition.")
@click.option(
    "--stack",
    metavar="NAME",
    default=DEFAULT_STACK,
    show_default=True,
    help="Stack of deploy/template.yaml that submit and sagemaker use.",
)
@click.option(
    "--pipeline", metavar="NAME", default=DEFAULT_PIPELINE, show_default=True, help="As sagemaker --name."
)
@click.option("--json", "as_json", is_flag=True, help="What it prints is JSON in any case.")
@where_options
def iam(
    spec_file: str,
    only: str | None,
    stack: str,
    pipeline: str,
    *,
    verify: bool,
    as_json: bool,  # noqa: ARG001
    **flags: Any,
) -> None:
    """Print the IAM policies that SPEC needs.

    They are for its roles, for the caller, and for an ECS task. Whoever uses submit, sagemaker or cost needs
    the policy of that name beside the caller's. No request is made: the account is that of
    training.role_arn. What `vlm-runner verify` needs in addition is printed by --verify, or by its name.

    \b
    Example:
        vlm-runner iam run.toml
        vlm-runner iam run.toml --only role_trust > trust.json
        aws iam create-role --role-name bedrock-sft --assume-role-policy-document file://trust.json
    """
    spec = RunSpec.from_toml(Path(spec_file))
    settings = settings_for(Where(**flags), spec_region=spec.aws.region)
    profile = load_catalogue(settings.catalogue).find(spec.model.base)
    region = settings.region or profile.regions[0]
    _, partition, _, _, account, *_ = spec.training.role_arn.split(":")
    uri = settings.checkpoint_uri or ""
    store = uri.removeprefix("s3://") if uri.startswith("s3://") else None
    key = settings.checkpoint_kms_key
    scope = scope_of(spec, profile, account, region, partition=partition, store=store, store_key=key)
    scope = replace(scope, stack=stack, pipeline=pipeline)
    scope.refuse_wildcards()
    additional = verify_documents(scope)
    found = additional if verify else all_documents(scope)
    if only is not None:
        found = found | additional
    if only is not None and only not in found:
        raise ConfigurationError(
            f"{spec_file} has no dead man's switch, so it needs no {only}.",
            hint="Add [serving.dead_man_switch] with after and role_arn.",
        )
    console.result_json(found[only] if only else found)
