"""
Names, tokens and keys: derived from the run, never from time, host or attempt.

A process that lost its memory, and another on another machine, derive the same ones; so whatever one
attempt created, the next finds and adopts.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from typing import TYPE_CHECKING, Literal

from vlm_runner.name_lengths import LONGEST_NAME, UID_LENGTH

if TYPE_CHECKING:
    from vlm_runner.core.run import Run

Kind = Literal["job", "model", "throughput", "deployment", "schedule"]

TAG_UID = "vlm-runner:run-uid"
TAG_RUN = "vlm-runner:run-id"
TAG_EXPIRES = "vlm-runner:expires-at"
TAG_KEEP = "vlm-runner:keep"
"""Of a custom model that no schedule may delete."""
KEPT, NOT_KEPT = "yes", "no"
"""Values of TAG_KEEP."""
NEVER = "never"
"""The value of TAG_EXPIRES on what was left to its user without an end."""
IMAGE_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([\w\-/.]+)", re.ASCII)
"""Of an image in a record, with its bucket and key (aws-samples, nova_ft_dataset_validator)."""
RUN_FOLDERS = ("images", "data", "runs")
"""Of a bucket, below `storage.prefix`: where runs write and delete."""
NAME_PREFIX = "vr-"
VERIFY_PREFIX = f"{NAME_PREFIX}verify-"
"""Of all that a verification creates."""
VERIFY_NO_MODEL = "amazon.nova-nothing-v1:0"
"""A foundation model that does not exist, which a verification asks to be customized."""
DEFAULT_STACK = "vlm-runner"
"""Of deploy/template.yaml."""
DEFAULT_PIPELINE = "vlm-runner"


def slug(text: str, length: int = 24) -> str:
    """Lower-case letters, digits and single hyphens, beginning and ending with a letter or digit, or ''."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:length].strip("-")


def default_run_id(source: str, spec_fingerprint: str) -> str:
    """The same spec has the same run id: starting it again goes on with the run that is there."""
    stem = slug(source.rstrip("/").rsplit("/", maxsplit=1)[-1]) or "run"
    return f"{stem}-{spec_fingerprint[:8]}"


def default_serving_id(run_id: str, number: int = 1) -> str:
    """Of the run that serves the model of `run_id` for the `number`th time."""
    stem = f"{run_id[:80]}-serve"
    return stem if number == 1 else f"{stem}-{number}"


def resource_name(run: Run, kind: Kind, generation: int = 0) -> str:
    """
    At most 48 characters of `[a-z0-9-]`, which suits all of AWS's patterns at once; for a job and a model the
    spec may have a template.

    The API reference gives JobName, CustomModelName, ModelDeploymentName and ProvisionedModelName
    different ones, each at most 63 characters, and a schedule's Name 64.
    """
    digest = hashlib.sha256(_seed("vlmr/1", run, kind, generation)).digest()
    uid = base64.b32encode(digest).decode().lower()[:UID_LENGTH]
    template = _template(run, kind).replace("{uid}", uid)
    room = LONGEST_NAME - len(template.replace("{run_id}", ""))
    return template.replace("{run_id}", slug(run.run_id, min(24, room)) or "run")


def _template(run: Run, kind: Kind) -> str:
    training = run.spec.training
    given = {"job": training.job_name, "model": training.model_name}.get(kind)
    return given or f"{NAME_PREFIX}{{run_id}}-{{uid}}"


def may_be_ours(name: str) -> bool:
    """Whether a run may have named this model or job; its tags say whether one did."""
    return name.startswith(NAME_PREFIX) or re.search(rf"[a-z2-7]{{{UID_LENGTH}}}", name) is not None


def client_request_token(run: Run, kind: Kind, generation: int = 0) -> str:
    """64 hex digits; fits Bedrock's IdempotencyToken (1-256 of `[a-zA-Z0-9-]`)."""
    return hashlib.sha256(_seed("vlmr-token/1", run, kind, generation)).hexdigest()


def tags(run: Run) -> list[dict[str, str]]:
    """The tags that mark a throughput, deployment, job or model as this run's, and the spec's own."""
    given = [{"key": key, "value": value} for key, value in run.spec.tags.items()]
    return [{"key": TAG_UID, "value": run.uid}, {"key": TAG_RUN, "value": run.run_id}, *given]


def _seed(version: str, run: Run, kind: str, generation: int) -> bytes:
    return f"{version}|{run.account}|{run.region}|{run.uid}|{kind}|{generation}".encode()


def image_key(folder: str, index: int, extension: str, place: int = 0) -> str:
    """The notebook's own names; a row's images after its first say which `place` they have, from 1."""
    number = f"{index:03d}" if place == 0 else f"{index:03d}-{place}"
    return f"{folder}{number}.{extension}"


def new_folder(prefix: str, run_id: str, uid: str) -> str:
    """
    Prefix of what only this run has in its bucket.

    The run id alone derives from the spec: two people who start one spec from two stores have the same one.
    """
    return f"{prefix}runs/{run_id}-{uid[:8]}/"


def run_folder(run: Run) -> str:
    """As `new_folder` was when the run was created; runs of earlier versions have one without a uid."""
    return run.created.folder or f"{run.spec.storage.prefix}runs/{run.run_id}/"


def bucket_name(template: str, account: str, region: str) -> str:
    return template.replace("{account}", account).replace("{region}", region)


def command_flags(
    *, profile: str | None, region: str | None, endpoint_url: str | None, store: str | None
) -> list[str]:
    """The flags with which a command of ours reaches these; None: as the environment says."""
    given = {"--profile": profile, "--region": region, "--endpoint-url": endpoint_url, "--store": store}
    return [word for flag, value in given.items() if value for word in (flag, value)]


def delete_command(mode: str, arn: str, region: str) -> str:
    """What a person can paste into a shell to stop the billing."""
    if mode == "provisioned":
        words = ["delete-provisioned-model-throughput", "--provisioned-model-id", arn]
    else:
        words = ["delete-custom-model-deployment", "--custom-model-deployment-identifier", arn]
    return aws_command("bedrock", *words, "--region", region)


def aws_command(*words: str) -> str:
    """A command to paste. Quoted: an ARN that was read may be any text, and must not become another."""
    return shlex.join(["aws", *words])
