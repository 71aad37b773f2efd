"""The checks, each a small function from a subject to what it found; none stops the others."""

from __future__ import annotations

import json
import os
import posixpath
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from vlm_runner import preflight
from vlm_runner.aws.ports import Caller
from vlm_runner.checkpoint.probe import conformance_failure
from vlm_runner.core.names import bucket_name
from vlm_runner.doctor import documents
from vlm_runner.doctor.policy import condition_values, context_of, fits, listed, trusts
from vlm_runner.errors import AccessDenied, ConfigurationError, VlmRunnerError
from vlm_runner.plan.check import Check, Status
from vlm_runner.prices.usage_types import usage_types
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from vlm_runner.aws.inspection import AwsInspection, Quota, Role
    from vlm_runner.aws.ports import Aws, Objects
    from vlm_runner.models import Catalogue, ModelProfile
    from vlm_runner.preflight import Problem
    from vlm_runner.spec import RunSpec

SKEW = timedelta(minutes=4)
"""AWS refuses signatures that are five minutes off (IAM user guide, signing)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What the checks examine, and with which clients."""

    spec: RunSpec
    profile: ModelProfile
    catalogue: Catalogue
    aws: Aws
    inspection: AwsInspection
    now: Callable[[], datetime]
    store: Path | tuple[Objects, str]
    """Of checkpoints: a folder, or a bucket and a prefix."""
    name_taken: Callable[[], Awaitable[str | None]] | None = None
    """Why the run's name cannot be used, or None."""
    metric_modules: tuple[str, ...] = ()
    """See Settings."""

    @property
    def region(self) -> str:
        return self.aws.region

    def scope(self, account: str, partition: str = "aws") -> documents.Scope:
        return scope_of(self.spec, self.profile, account, self.region, partition=partition)


def scope_of(
    spec: RunSpec,
    profile: ModelProfile,
    account: str,
    region: str,
    *,
    partition: str = "aws",
    store: str | None = None,
    store_key: str | None = None,
) -> documents.Scope:
    switch, vpc = spec.serving.dead_man_switch, spec.training.vpc
    return documents.Scope(
        account=account,
        region=region,
        bucket=bucket_name(spec.storage.bucket, account, region),
        role_arn=spec.training.role_arn,
        base_model=profile.base_id,
        inference_model=profile.inference_id,
        prefix=spec.storage.prefix,
        kms_key=spec.storage.kms_key,
        model_key=spec.training.kms_key,
        subnets=vpc.subnets if vpc is not None else (),
        security_groups=vpc.security_groups if vpc is not None else (),
        tag_keys=tuple(spec.tags),
        source=_source_of(spec),
        in_place=tuple(each.removeprefix("s3://").partition("/")[2] for each in spec.dataset.images_in_place),
        store=store,
        store_key=store_key,
        partition=partition,
        dead_man_role_arn=switch.role_arn if switch is not None else None,
    )


def _source_of(spec: RunSpec) -> str | None:
    """A file's folder, since its rows name what lies beside it."""
    bucket, _, key = spec.dataset.source.removeprefix("s3://").partition("/")
    if not spec.dataset.source.startswith("s3://"):
        return None
    folder = posixpath.dirname(key) if posixpath.splitext(key)[1] else key.strip("/")
    return f"{bucket}/{folder}/" if folder else f"{bucket}/"


async def run_checks(subject: Subject, parts: Sequence[Part] | None = None) -> list[Check]:
    """
    All checks, or those of `parts`, in the order in which a person would fix what they find.

    Nothing is changed, but for the probe object in an S3 checkpoint store.
    """
    found: list[Check] = [check async for check in _region(subject)]
    try:
        caller = await subject.aws.account.caller()
    except ConfigurationError as error:  # no usable credentials, or no such profile
        return [*found, Check("C01", Status.BAD, "credentials", error.message, error.hint)]
    except VlmRunnerError as error:
        return [
            *found,
            Check("C01", Status.UNKNOWN, "credentials", error.message, error.hint or "Try again."),
        ]
    found.append(Check("C01", Status.GOOD, "credentials", f"{caller.arn}"))
    for part in ALL if parts is None else parts:
        try:
            async for check in part(subject, caller):
                found.append(check)  # kept, even if the next question fails  # noqa: PERF401
        except AccessDenied as error:
            fix = (
                f"Allow {error.operation or 'it'}; the whole policy: vlm-runner iam SPEC --only caller_policy"
            )
            found.append(Check("C00", Status.UNKNOWN, part.__name__.strip("_"), error.message, fix))
        except VlmRunnerError as error:
            found.append(Check("C00", Status.UNKNOWN, part.__name__.strip("_"), error.message, error.hint))
    return found


def _bad(code: str, about: str, problem: Problem) -> Check:
    """A problem of preflight under doctor's own code."""
    return Check(code, Status.BAD, about, problem.message, problem.hint)


async def _region(subject: Subject) -> AsyncIterator[Check]:
    problem = next(preflight.region_problems(subject.profile, subject.region), None)
    if problem is not None:
        yield _bad("C02", "region", problem)
    else:
        yield Check("C02", Status.GOOD, "region", subject.region)


async def _spec(subject: Subject, _: Caller) -> AsyncIterator[Check]:
    for problem in preflight.spec_problems(subject.spec, subject.profile, subject.metric_modules):
        yield _bad("C27", problem.field or "spec", problem)


async def _clock(subject: Subject, _: Caller) -> AsyncIterator[Check]:
    theirs = await subject.inspection.time()
    if theirs is None:
        fix = "Look for yourself: timedatectl status"
        yield Check("C20", Status.UNKNOWN, "clock", "the answer had no date", fix)
        return
    skew = abs(subject.now() - theirs)
    if skew < SKEW:
        yield Check("C20", Status.GOOD, "clock", f"{skew.total_seconds():.0f} seconds off")
    else:
        off = f"this machine's clock is {skew.total_seconds():.0f} seconds off; AWS refuses 300"
        yield Check("C20", Status.BAD, "clock", off, "Set it: sudo timedatectl set-ntp true")


async def _model(subject: Subject, _: Caller) -> AsyncIterator[Check]:
    profile, day = subject.profile, subject.now().date()
    found = await subject.aws.bedrock.foundation_model(profile.base_id)
    problems = preflight.model_problems(profile, found, subject.catalogue, subject.region, day)
    problem = next(problems, None)
    if problem is None or problem.code != "C03":
        yield Check("C03", Status.GOOD, "model", f"{profile.name} is active")
    if problem is None:
        yield Check("C04", Status.GOOD, "fine-tuning", "supported")
    else:
        yield _bad(problem.code, "model" if problem.code == "C03" else "fine-tuning", problem)


async def _role(subject: Subject, caller: Caller) -> AsyncIterator[Check]:
    arn = subject.spec.training.role_arn
    elsewhere = [*preflight.role_problems(subject.spec, caller)]
    for problem in elsewhere:
        yield _bad(problem.code, "role", problem)
    if any(problem.field == "training.role_arn" for problem in elsewhere):
        return
    try:
        role = await subject.inspection.role(arn)
    except AccessDenied as error:
        yield Check(
            "C06", Status.UNKNOWN, "role", f"not allowed to look: {error.message}", "Allow iam:GetRole."
        )
        return
    name = arn.rpartition("/")[2]
    if role is None:
        yield Check(
            "C06",
            Status.BAD,
            "role",
            f"there is no role {name}",
            f"vlm-runner iam SPEC --only role_trust > trust.json && aws iam create-role --role-name {name} "
            "--assume-role-policy-document file://trust.json",
        )
        return
    yield Check("C06", Status.GOOD, "role", arn)
    for check in _trust(subject, caller, role):
        yield check
    async for check in _rights(subject, caller, role):
        yield check


def _trust(subject: Subject, caller: Caller, role: Role) -> list[Check]:
    update = (
        "vlm-runner iam SPEC --only role_trust > trust.json && aws iam update-assume-role-policy "
        f"--role-name {role.name} --policy-document file://trust.json"
    )
    statements = trusts(role.trust, "bedrock.amazonaws.com")
    if not statements:
        return [
            Check("C07", Status.BAD, "trust", f"{role.name} does not trust bedrock.amazonaws.com", update)
        ]
    job = f"arn:{caller.partition}:bedrock:{subject.region}:{caller.account}:model-customization-job/x"
    checks, fitting = [], 0
    for statement in statements:
        accounts = condition_values(statement, "aws:SourceAccount")
        sources = condition_values(statement, "aws:SourceArn")
        if accounts and caller.account not in accounts:
            said = f"aws:SourceAccount is {', '.join(accounts)}, and the account {caller.account}"
            checks.append(Check("C08", Status.BAD, "trust", said, update))
        elif sources and not any(fits(source, job) for source in sources):
            said = f"aws:SourceArn is {', '.join(sources)}, which no job in {subject.region} fits"
            checks.append(Check("C08", Status.BAD, "trust", said, update))
        elif not accounts or not sources:
            missing = " and ".join(
                name
                for name, values in (("aws:SourceAccount", accounts), ("aws:SourceArn", sources))
                if not values
            )
            said = f"anybody's job could use the role: no condition on {missing}"
            checks.append(Check("C09", Status.DOUBTFUL, "trust", said, update))
            fitting += 1
        else:
            checks.append(Check("C08", Status.GOOD, "trust", "Bedrock, for this account's jobs only"))
            fitting += 1
    return [check for check in checks if not fitting or check.status is not Status.BAD]


async def _rights(subject: Subject, caller: Caller, role: Role) -> AsyncIterator[Check]:
    scope = subject.scope(caller.account, caller.partition)
    inside = f"{scope.bucket_arn}/{scope.prefix}"
    # What Bedrock writes is encrypted by the bucket's default, whatever the spec asks of uploads.
    default = await subject.inspection.default_key(scope.bucket, caller.account)
    keys = {
        "role uses the key of the uploads": scope.kms_key,
        "role uses the bucket's default key": default if default != scope.kms_key else None,
    }
    ours = {"aws:ResourceAccount": caller.account}
    needs = [
        ("C10", "role lists", "s3:ListBucket", scope.bucket_arn, ours),
        ("C11", "role reads", "s3:GetObject", f"{inside}data/train.jsonl", ours),
        ("C11", "role reads images", "s3:GetObject", f"{inside}images/train/000.png", ours),
        *(
            ("C11", "role reads images in place", "s3:GetObject", f"{scope.bucket_arn}/{prefix}a.png", ours)
            for prefix in scope.in_place
        ),
        ("C12", "role writes", "s3:PutObject", f"{inside}runs/x/output/y", ours),
    ]
    needs += [
        ("C31", about, action, listed(statement["Resource"])[0], context_of(statement))
        for about, statements in (
            *((about, documents.object_key_use(replace(scope, kms_key=key))) for about, key in keys.items()),
            ("role uses the model's key", documents.model_key_use(scope, ["kms:CreateGrant", "kms:Decrypt"])),
            ("role joins the VPC", documents.vpc_use(scope)),
        )
        for statement in statements
        for action in statement["Action"]
    ]
    add = (
        "vlm-runner iam SPEC --only role_policy > policy.json && aws iam put-role-policy "
        f"--role-name {role.name} --policy-name {scope.policy_name} --policy-document file://policy.json"
    )
    for code, about, action, resource, context in needs:
        simulated = await subject.inspection.simulate(role.arn, [action], resource, context)
        if simulated is None:
            yield _not_simulated("C13", "role's rights", role.arn)
            return
        if simulated.get(action, False):
            yield Check(code, Status.GOOD, about, action)
        else:
            said = f"{role.name} may not {action} on {resource}"
            # A key that the spec does not name is in no policy that `iam` prints.
            named = f'Set kms_key = "{default}" under [storage], then: ' if resource == default else ""
            yield Check(code, Status.BAD, about, said, named + add)


async def _bucket(subject: Subject, caller: Caller) -> AsyncIterator[Check]:
    name = bucket_name(subject.spec.storage.bucket, caller.account, subject.region)
    for problem in preflight.in_place_problems(subject.spec, name):
        yield _bad(problem.code, "images in place", problem)
    facts = await subject.inspection.bucket(name, caller.account)
    if not facts.exists:
        yield Check("C14", Status.GOOD, "bucket", f"{name} does not exist yet, and is created by the run")
        return
    if not facts.ours:
        said = f"{name} belongs to another account, or you may not use it"
        yield Check("C14", Status.BAD, "bucket", said, "Name another one: bucket under [storage].")
        return
    if facts.region != subject.region:
        said = f"{name} is in {facts.region}; Bedrock reads its own region only, {subject.region}"
        yield Check("C15", Status.BAD, "bucket", said, "Name another one: bucket under [storage].")
        return
    yield Check("C14", Status.GOOD, "bucket", f"{name} is ours, in {facts.region}")
    block = (
        f"aws s3api put-public-access-block --bucket {name} --public-access-block-configuration "
        "BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true"
    )
    if facts.public:
        yield Check("C16", Status.BAD, "bucket", f"{name} is public by its policy", block)
    elif facts.blocks_public is False:
        yield Check("C16", Status.DOUBTFUL, "bucket", f"{name} does not block public access", block)
    elif facts.blocks_public is None:
        said = f"whether {name} blocks public access could not be read"
        yield Check("C16", Status.UNKNOWN, "bucket", said, "Allow s3:GetBucketPublicAccessBlock.")
    else:
        yield Check("C16", Status.GOOD, "bucket", "public access is blocked")


async def _units(subject: Subject, _: Caller) -> AsyncIterator[Check]:
    """Before money: a throughput is asked for only after the training is paid, and refused without units."""
    if subject.spec.serving.mode is not ServingMode.PROVISIONED:
        return
    quotas, inspection = subject.profile.quotas, subject.inspection
    if quotas.model_units_adjustable:
        everywhere = await inspection.quota(quotas.provisioned_units_code)
        yield _enough("C17", "model units", subject, everywhere, quotas.provisioned_units_code)
    own = None
    if quotas.model_units_code is not None:
        own = await inspection.quota(quotas.model_units_code)
    elif quotas.model_units_name is not None:
        own = await inspection.quota_named(quotas.model_units_name)
    asked = quotas.model_units_code or quotas.model_units_name
    if asked is not None:
        yield _enough("C18", "units of this model", subject, own, asked)


def _enough(code: str, about: str, subject: Subject, quota: Quota | None, asked: str) -> Check:
    """Whether `quota` has as many units as the run rents; None: it could not be read."""
    wanted = subject.spec.serving.model_units
    on_demand = ' Or set mode = "on-demand" under [serving].' if subject.profile.serving.on_demand else ""
    if quota is None:
        said = f"the quota {asked} could not be read; in many accounts it is 0"
        rights = "Allow servicequotas:GetServiceQuota and GetAWSDefaultServiceQuota (vlm-runner iam SPEC)."
        return Check(code, Status.UNKNOWN, about, said, rights + on_demand)
    if quota.value >= wanted:
        return Check(code, Status.GOOD, about, f"{quota.value:.0f} without commitment")
    said = f"{wanted} wanted, and the account has {quota.value:.0f} by its quota '{quota.name}'"
    if not subject.profile.quotas.model_units_adjustable:
        other = 'Set mode = "on-demand" under [serving].' if on_demand else "Choose another model."
        return Check(code, Status.BAD, about, f"{said}, which AWS does not raise", other)
    ask = (
        "aws service-quotas request-service-quota-increase --service-code bedrock "
        f"--quota-code {quota.code} --desired-value {wanted} --region {subject.region}"
    )
    return Check(code, Status.BAD, about, said, ask + on_demand)


async def _prices(subject: Subject, _: Caller) -> AsyncIterator[Check]:
    """Whether AWS's price list can be read; a run works without, by prices that may be old or unknown."""
    usage_type = usage_types(subject.profile).get("training_per_million_tokens")
    if usage_type is None:
        return
    fix = (
        f"Allow pricing:GetProducts, or write your prices: vlm-runner prices {subject.profile.base_id} --help"
    )
    try:
        listed = await subject.aws.prices.find(subject.profile.regions[0], usage_type)
    except VlmRunnerError as error:
        yield Check("C40", Status.UNKNOWN, "prices", error.message, fix)
        return
    if listed is None:
        yield Check("C40", Status.UNKNOWN, "prices", f"AWS's price list has nothing for {usage_type}", fix)
    else:
        yield Check("C40", Status.GOOD, "prices", f"training: ${listed.usd.normalize():f} for {listed.unit}")


async def _jobs(subject: Subject, _: Caller) -> AsyncIterator[Check]:
    running, quotas = await subject.inspection.running_jobs(), subject.profile.quotas
    wait = "Wait for one, or stop one: aws bedrock stop-model-customization-job --job-identifier NAME"
    wait += f" --region {subject.region}"
    if running >= quotas.scheduled_jobs:
        said = f"{running} customization jobs are under way; an account may have {quotas.scheduled_jobs}"
        yield Check("C19", Status.BAD, "jobs", said, wait)
    elif running >= quotas.running_jobs:
        said = f"{running} customization jobs are under way; accounts were seen to run {quotas.running_jobs}"
        yield Check("C19", Status.DOUBTFUL, "jobs", f"{said} at a time, so a run may have to wait", wait)
    else:
        yield Check("C19", Status.GOOD, "jobs", f"{running} under way, of {quotas.running_jobs} at a time")


def _not_simulated(code: str, about: str, principal: str) -> Check:
    """Only IAM's own answer counts: it knows boundaries and conditions, which policies alone do not show."""
    fix = f"Allow iam:SimulatePrincipalPolicy on {principal}."
    return Check(code, Status.UNKNOWN, about, "IAM could not be asked to simulate them", fix)


async def _caller(subject: Subject, caller: Caller) -> AsyncIterator[Check]:
    """Whether the caller has the rights that a run needs."""
    principal = await _principal(subject, caller)
    if principal is None:
        said = f"IAM simulates users and roles that can be looked up, and this is {caller.arn}"
        fix = "Allow iam:GetRole on the caller's own role, or use a user or role of the account."
        yield Check("C21", Status.UNKNOWN, "caller's rights", said, fix)
        return
    wanted = documents.caller_policy(subject.scope(caller.account, caller.partition))["Statement"]
    denied: list[str] = []
    for statement in wanted:
        resource = listed(statement["Resource"])[0]
        actions = listed(statement["Action"])
        result = await subject.inspection.simulate(principal, actions, resource, context_of(statement))
        if result is None:
            yield _not_simulated("C21", "caller's rights", principal)
            return
        denied += [action for action, allowed in result.items() if not allowed]
    if denied:
        give = "vlm-runner iam SPEC --only caller_policy"
        yield Check("C21", Status.BAD, "caller's rights", f"may not {', '.join(denied)}", give)
    else:
        yield Check("C21", Status.GOOD, "caller's rights", "all that caller_policy lists")


async def _principal(subject: Subject, caller: Caller) -> str | None:
    """The ARN that IAM simulates; None for the root user, a federated user, or a role that cannot be read."""
    kind, _, name = caller.arn.split(":", 5)[5].partition("/")
    if kind == "user":
        return caller.arn
    if kind != "assumed-role":
        return None
    try:
        # A session's ARN leaves out the path of its role, so the role is looked up by its name.
        role = await subject.inspection.role(name.partition("/")[0])
    except AccessDenied:
        return None
    return role.arn if role is not None else None


async def _name(subject: Subject, _: Caller) -> AsyncIterator[Check]:
    if subject.name_taken is None:
        return
    taken = await subject.name_taken()
    if taken is None:
        yield Check("C22", Status.GOOD, "name", "free")
    else:
        yield Check("C22", Status.BAD, "name", taken, "Give another --run-id.")


async def _store(subject: Subject, _: Caller) -> AsyncIterator[Check]:
    if isinstance(subject.store, Path):
        yield await anyio.to_thread.run_sync(_local_store, subject.store)
        return
    objects, prefix = subject.store
    where = f"s3://{objects.bucket}/{prefix}"
    plain, key = (f"{prefix.rstrip('/')}/doctor-{secrets.token_hex(8)}.json".lstrip("/") for _ in range(2))
    try:
        await objects.put(plain, b'{"probe": 0}', content_type="application/json")
        found = await conformance_failure(objects, key, contenders=8)
    except VlmRunnerError as error:
        fix = (
            error.hint
            or "Allow s3:GetObject, s3:PutObject and s3:DeleteObject there, or give another --store."
        )
        yield Check("C23", Status.BAD, "checkpoints", f"{where}: {error.message}", fix)
        return
    if found is not None:
        said = f"{where} does not keep conditional writes, on which the lease rests: {found}"
        yield Check("C24", Status.BAD, "checkpoints", said, "Use S3 itself, or a folder, as --store.")
    else:
        yield Check("C23", Status.GOOD, "checkpoints", f"{where} keeps conditional writes")
    try:
        await objects.delete(plain)
        await objects.delete(key)
    except VlmRunnerError as error:
        said = f"the probe {key} could not be deleted: {error.message}"
        yield Check("C25", Status.DOUBTFUL, "checkpoints", said,
                    "Allow s3:DeleteObject there.")  # fmt: skip


Part = Callable[[Subject, Caller], "AsyncIterator[Check]"]

ALL: Final[tuple[Part, ...]] = (
    _spec, _clock, _model, _role, _bucket, _units, _prices, _jobs, _caller, _name, _store,
)  # fmt: skip

BEFORE_START: Final[tuple[Part, ...]] = (_clock, _role, _bucket, _units)
"""
What would end a run after it has uploaded or trained; a few questions to AWS.

`prepare` has asked for credentials, region and model. A full quota of jobs ends by itself.
"""

BEFORE_DRIVING: Final[tuple[Part, ...]] = (*BEFORE_START, _caller)
"""Also whether the caller may do all that a run does, for a run that these credentials drive."""


def _local_store(folder: Path) -> Check:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".doctor-")
        with os.fdopen(handle, "w") as file:
            json.dump({"probe": 1}, file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).unlink()
    except OSError as error:
        said = f"{folder} cannot be written: {error.strerror or error}"
        return Check("C23", Status.BAD, "checkpoints", said, "Give another folder as --store.")
    return Check("C23", Status.GOOD, "checkpoints", f"{folder}")
