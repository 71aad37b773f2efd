"""One test for each thing that the doctor knows, against the sandbox: IAM and S3 by moto, Bedrock and quotas ours."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from click.testing import CliRunner

from tests.credentials import sandbox_credentials
from tests.histories import happy_runs
from vlm_runner.aws import session
from vlm_runner.aws.ports import Caller, FoundationModel
from vlm_runner.aws.session import AwsSession
from vlm_runner.checkpoint.document import Checkpoint, to_bytes
from vlm_runner.cli import cli
from vlm_runner.doctor import Check, Status, Subject, run_checks
from vlm_runner.doctor.checks import scope_of
from vlm_runner.doctor.documents import all_documents, caller_policy, role_policy, role_trust
from vlm_runner.doctor.policy import trusts
from vlm_runner.errors import AccessDenied, ConfigurationError, Conflict
from vlm_runner.models import load_catalogue
from vlm_runner.sandbox import Sandbox, SandboxOptions
from vlm_runner.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ACCOUNT = "123456789012"
NOVA = "amazon.nova-lite-v1:0:300k"
LLAMA = "meta.llama3-2-11b-instruct-v1:0:128k"
BUCKET = f"vlm-accessibility-{ACCOUNT}-us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/sft"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxOptions(as_of=datetime(2026, 11, 22, tzinfo=UTC), model_units=2)) as running:
        yield running


MODEL_KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
VPC = {"subnets": ["subnet-0a1"], "security_groups": ["sg-0c3"]}


class World:
    """A sandbox in which everything is well, to be spoilt."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder
        self.now = datetime.now(UTC)
        self.store: Any = folder
        self.name: str | None = None
        self.iam, self.s3 = self.client("iam"), self.client("s3")
        scope = scope_of(spec(), load_catalogue().find(NOVA), ACCOUNT, "us-east-1")
        self.iam.create_role(RoleName="sft", AssumeRolePolicyDocument=json.dumps(role_trust(scope)))
        self.iam.put_role_policy(
            RoleName="sft", PolicyName="vlm-runner", PolicyDocument=json.dumps(role_policy(scope))
        )

    def client(self, service: str, region: str = "us-east-1") -> Any:
        return boto3.client(service, region_name=region, endpoint_url=self.sandbox.url)

    def make_bucket(self, *, block: bool = True, region: str = "us-east-1") -> None:
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.client("s3", region).create_bucket(Bucket=BUCKET, **place)
        if block:
            four = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
            self.s3.put_public_access_block(
                Bucket=BUCKET, PublicAccessBlockConfiguration=dict.fromkeys(four, True)
            )

    def trust(self, **condition: Any) -> None:
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "bedrock.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
        document = {"Version": "2012-10-17", "Statement": [statement | condition]}
        self.iam.update_assume_role_policy(RoleName="sft", PolicyDocument=json.dumps(document))

    async def examined(self, region: str = "us-east-1", **sections: Any) -> list[Check]:
        made = spec(**sections)
        catalogue = load_catalogue()

        async def name_taken() -> str | None:
            return self.name

        async with AwsSession(region=region, endpoint_url=self.sandbox.url) as session:
            store = self.store(session) if callable(self.store) else self.store
            return await run_checks(
                Subject(
                    spec=made,
                    profile=catalogue.find(made.model.base),
                    catalogue=catalogue,
                    aws=session,
                    inspection=session.inspection,
                    now=lambda: self.now,
                    store=store,
                    name_taken=name_taken,
                )
            )

    async def only(
        self, code: str, status: Status = Status.BAD, region: str = "us-east-1", **sections: Any
    ) -> Check:
        """The one check of this code, which has this status, a sentence and a fix."""
        found = [check for check in await self.examined(region, **sections) if check.code == code]
        matching = [check for check in found if check.status is status]
        assert matching, found
        assert matching[0].message
        assert matching[0].fix
        return matching[0]


def spec(**sections: Any) -> RunSpec:
    base = {"dataset": {"source": "x"}, "model": {"base": NOVA}, "training": {"role_arn": ROLE}}
    base["serving"] = {"mode": "provisioned"}
    return RunSpec.from_table(base | sections)


@pytest.fixture
def world(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    sandbox_credentials(monkeypatch)
    import urllib.request

    urllib.request.urlopen(
        urllib.request.Request(f"{sandbox.url}/_sandbox/reset", b"{}", method="POST")
    ).close()
    return World(sandbox, tmp_path)


async def test_where_all_is_well_nothing_is_bad(world: World) -> None:
    world.make_bucket()

    found = await world.examined()

    assert [check for check in found if check.status is Status.BAD] == []
    unknown = {check.code for check in found if check.status is Status.UNKNOWN}
    assert unknown == {"C21"}, "the sandbox's administrator is no user or role"
    assert all(check.fix for check in found if check.matters)


async def test_no_credentials(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")

    check = await world.only("C01")

    assert "aws sts get-caller-identity" in (check.fix or "")


async def test_a_profile_that_does_not_exist(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nothing else can be checked then: it is bad, and not merely unknown, so that doctor exits with 4.
    """
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    check = await world.only("C01")

    assert "nobody" in check.message


async def test_the_wrong_region(world: World) -> None:
    check = await world.only("C02", region="us-west-2")

    assert "--region us-east-1" in (check.fix or "")


async def test_a_model_past_its_end(world: World) -> None:
    check = await world.only("C03", region="us-west-2", model={"base": LLAMA})

    assert "2026-07-07" in check.message
    assert NOVA in (check.fix or "")


async def test_a_legacy_model(tmp_path: Path, world: World) -> None:
    with Sandbox(SandboxOptions(as_of=datetime(2026, 3, 1, tzinfo=UTC), model_units=2)) as past:
        check = await World(past, tmp_path).only("C03", region="us-west-2", model={"base": LLAMA})

    assert "LEGACY" in check.message


async def test_a_role_of_another_account(world: World) -> None:
    await world.only("C05", training={"role_arn": "arn:aws:iam::999999999999:role/sft"})


async def test_no_such_role(world: World) -> None:
    check = await world.only("C06", training={"role_arn": f"arn:aws:iam::{ACCOUNT}:role/none"})

    assert "aws iam create-role --role-name none" in (check.fix or "")


async def test_a_role_that_does_not_trust_bedrock(world: World) -> None:
    world.trust(Principal={"Service": "sagemaker.amazonaws.com"})

    check = await world.only("C07")

    assert "aws iam update-assume-role-policy --role-name sft" in (check.fix or "")


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {"aws:SourceAccount": "999999999999"}},
        {
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnEquals": {"aws:SourceArn": f"arn:aws:bedrock:us-west-2:{ACCOUNT}:model-customization-job/*"},
        },
    ],
)
async def test_a_role_that_trusts_other_jobs(world: World, condition: dict[str, Any]) -> None:
    world.trust(Condition=condition)

    await world.only("C08")


async def test_a_role_that_trusts_anybodys_jobs(world: World) -> None:
    world.trust()

    check = await world.only("C09", Status.DOUBTFUL)

    assert "aws:SourceAccount and aws:SourceArn" in check.message


async def test_one_statement_that_fits_is_enough(world: World) -> None:
    """
    What another statement allows to somebody else is no problem of this run.
    """
    ours = role_trust(scope_of(spec(), load_catalogue().find(NOVA), ACCOUNT, "us-east-1"))["Statement"][0]
    theirs = ours | {"Condition": {"StringEquals": {"aws:SourceAccount": "999999999999"}}}
    document = {"Version": "2012-10-17", "Statement": [theirs, ours]}
    world.iam.update_assume_role_policy(RoleName="sft", PolicyDocument=json.dumps(document))

    found = await world.examined()

    assert [check.status for check in found if check.code == "C08"] == [Status.GOOD]


async def test_a_bucket_in_another_region(world: World) -> None:
    world.make_bucket(region="us-west-2")

    await world.only("C15")


async def test_a_bucket_that_is_not_ours(world: World) -> None:
    world.make_bucket()
    world.sandbox.faults.add(
        [{"operation": "HeadBucket", "kind": "error", "code": "AccessDenied", "status": 403, "times": 9}]
    )

    try:
        await world.only("C14")
    finally:
        world.sandbox.faults.clear()


async def test_a_bucket_that_does_not_block_public_access(world: World) -> None:
    world.make_bucket(block=False)

    check = await world.only("C16", Status.DOUBTFUL)

    assert "put-public-access-block" in (check.fix or "")


async def test_too_few_model_units(world: World) -> None:
    world.sandbox.state.change_scenario({"no_commitment_units": 0})
    try:
        check = await world.only("C17")
    finally:
        world.sandbox.state.change_scenario({"no_commitment_units": 2})

    assert "L-BE77399C" in (check.fix or "")
    assert "on-demand" in (check.fix or "")


async def test_units_are_not_asked_for_where_nothing_is_rented(world: World) -> None:
    found = await world.examined(serving={"mode": "on-demand"})

    assert not {check.code for check in found} & {"C17", "C18"}


async def test_too_many_jobs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def many(_: object) -> int:
        return 10

    monkeypatch.setattr("vlm_runner.aws.inspection.AwsInspection.running_jobs", many)

    check = await world.only("C19")

    assert "stop-model-customization-job" in (check.fix or "")


async def test_jobs_of_which_only_two_run_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "running_jobs", 2)

    check = await world.only("C19", Status.DOUBTFUL)

    assert "2 at a time" in check.message


async def test_a_model_whose_plain_id_tells_that_it_is_fine_tuned(world: World) -> None:
    world.sandbox.state.change_scenario({"fine_tuning_on_plain_id": True})

    found = await world.examined()

    assert [check.status for check in found if check.code == "C04"] == [Status.GOOD]


def answers(monkeypatch: pytest.MonkeyPatch, method: str, answer: Any) -> None:
    """What moto cannot say: `method` of the inspection answers, or raises, `answer`."""

    async def said(*given: object) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer(*given) if callable(answer) else answer

    monkeypatch.setattr(f"vlm_runner.aws.inspection.AwsInspection.{method}", said)


async def test_a_model_that_is_not_fine_tuned(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(*_: object) -> FoundationModel:
        return FoundationModel(NOVA, "ACTIVE", ("DISTILLATION",), ("ON_DEMAND",))

    monkeypatch.setattr("vlm_runner.aws.bedrock.BedrockControl.foundation_model", found)

    check = await world.only("C04")

    assert "DISTILLATION" in check.message
    assert "amazon.nova-pro-v1:0:300k" in (check.fix or "")


async def test_a_role_that_may_not_be_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "role", AccessDenied("no"))

    check = await world.only("C06", Status.UNKNOWN)

    assert "iam:GetRole" in (check.fix or "")


async def test_rights_that_iam_could_not_be_asked_about(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Policies alone do not show what is allowed, so nothing is said but which right lets IAM answer.
    """
    answers(monkeypatch, "simulate", lambda *_: None)

    check = await world.only("C13", Status.UNKNOWN)

    assert f"iam:SimulatePrincipalPolicy on {ROLE}" in (check.fix or "")
    assert not {each.code for each in await world.examined()} & {"C10", "C11", "C12"}


async def test_a_role_that_has_its_rights(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def simulated(
        _: object, principal: str, actions: list[str], resource: str, context: dict[str, str]
    ) -> dict[str, bool]:
        if principal == ROLE:
            asked.append(resource)
        return dict.fromkeys(actions, True)

    answers(monkeypatch, "simulate", simulated)

    found = await world.examined(storage={"prefix": "team"})

    assert {check.status for check in found if check.code in {"C10", "C11", "C12"}} == {Status.GOOD}
    assert asked == [
        f"arn:aws:s3:::{BUCKET}",
        f"arn:aws:s3:::{BUCKET}/team/data/train.jsonl",
        f"arn:aws:s3:::{BUCKET}/team/images/train/000.png",
        f"arn:aws:s3:::{BUCKET}/team/runs/x/output/y",
    ]


def all_but(action: str) -> Callable[..., dict[str, bool]]:
    """What IAM says of a principal that may do everything else."""

    def simulated(_: object, _principal: str, actions: list[str], *__: object) -> dict[str, bool]:
        return {each: each != action for each in actions}

    return simulated


@pytest.mark.parametrize(
    ("code", "action"), [("C10", "s3:ListBucket"), ("C11", "s3:GetObject"), ("C12", "s3:PutObject")]
)
async def test_a_role_that_lacks_a_right(
    world: World, monkeypatch: pytest.MonkeyPatch, code: str, action: str
) -> None:
    answers(monkeypatch, "simulate", all_but(action))

    check = await world.only(code)

    assert action in check.message
    assert "aws iam put-role-policy --role-name sft" in (check.fix or "")


@pytest.mark.parametrize(
    ("action", "about"),
    [("kms:CreateGrant", "role uses the model's key"), ("ec2:CreateNetworkInterface", "role joins the VPC")],
)
async def test_a_role_that_lacks_a_right_to_the_models_key_or_the_vpc(
    world: World, monkeypatch: pytest.MonkeyPatch, action: str, about: str
) -> None:
    answers(monkeypatch, "simulate", all_but(action))

    found = await world.examined(training={"role_arn": ROLE, "kms_key": MODEL_KEY, "vpc": VPC})

    bad = {check.about for check in found if check.code == "C31" and check.status is Status.BAD}
    assert bad == {about}


async def test_a_role_that_may_not_read_images_in_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def simulated(_: object, _principal: str, actions: list[str], resource: str, *__: object) -> Any:
        return dict.fromkeys(actions, "/photos/" not in resource)

    answers(monkeypatch, "simulate", simulated)
    dataset = {"source": "x", "images_in_place": ["s3://my-bucket/photos/"]}

    found = await world.examined(dataset=dataset, storage={"bucket": "my-bucket"})

    bad = {
        check.about: check.message for check in found if check.code == "C11" and check.status is Status.BAD
    }
    assert list(bad) == ["role reads images in place"]
    assert "s3:GetObject on arn:aws:s3:::my-bucket/photos/" in bad["role reads images in place"]


async def test_a_role_that_may_not_decrypt_what_is_uploaded_under_a_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "simulate", all_but("kms:Decrypt"))

    check = await world.only("C31", storage={"kms_key": MODEL_KEY})

    assert check.about == "role uses the key of the uploads"
    assert f"may not kms:Decrypt on {MODEL_KEY}" in check.message


async def test_a_bucket_that_encrypts_by_default_with_a_key_that_the_role_may_not_use(world: World) -> None:
    """What Bedrock writes is encrypted so, and so is what it reads, though the spec names no key."""
    world.make_bucket()
    encryption = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": MODEL_KEY}
    rule = {"ApplyServerSideEncryptionByDefault": encryption}
    world.s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]})

    check = await world.only("C31")

    assert check.about == "role uses the bucket's default key"
    assert (check.fix or "").startswith(f'Set kms_key = "{MODEL_KEY}" under [storage], then: vlm-runner iam')
    named = {"storage": {"kms_key": MODEL_KEY}}
    scope = scope_of(spec(**named), load_catalogue().find(NOVA), ACCOUNT, "us-east-1")
    world.iam.put_role_policy(
        RoleName="sft", PolicyName="vlm-runner", PolicyDocument=json.dumps(role_policy(scope))
    )
    for checks in (await world.examined(), await world.examined(storage=named["storage"])):
        assert [each.status for each in checks if each.code == "C31"] == [Status.GOOD] * 2


async def test_a_caller_that_may_not_do_it_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "simulate", all_but("iam:PassRole"))
    monkeypatch.setattr("vlm_runner.aws.account.AwsAccount.caller", a_user)

    check = await world.only("C21")

    assert check.message == "may not iam:PassRole"
    assert "--only caller_policy" in (check.fix or "")


async def a_user(_: object) -> Caller:
    return Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/me", "aws")


async def test_a_caller_that_iam_does_not_simulate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def root(_: object) -> Caller:
        return Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", "aws")

    monkeypatch.setattr("vlm_runner.aws.account.AwsAccount.caller", root)

    check = await world.only("C21", Status.UNKNOWN)

    assert ":root" in check.message


PATHED = f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Dev_0a1b"


async def a_session(_: object) -> Caller:
    return Caller(ACCOUNT, f"arn:aws:sts::{ACCOUNT}:assumed-role/AWSReservedSSO_Dev_0a1b/me", "aws")


async def test_a_role_with_a_path_is_simulated_by_its_own_arn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The ARN of its session leaves the path out, and names a role that does not exist.
    """
    name, path = "AWSReservedSSO_Dev_0a1b", "/aws-reserved/sso.amazonaws.com/"
    world.iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument="{}")
    principals: list[str] = []

    def simulated(_: object, principal: str, actions: list[str], *__: object) -> dict[str, bool]:
        principals.append(principal)
        return dict.fromkeys(actions, True)

    answers(monkeypatch, "simulate", simulated)
    monkeypatch.setattr("vlm_runner.aws.account.AwsAccount.caller", a_session)

    found = await world.examined()

    assert [check.status for check in found if check.code == "C21"] == [Status.GOOD]
    assert set(principals) == {ROLE, PATHED}


@pytest.mark.parametrize("answer", [None, AccessDenied("no")], ids=["no such role", "not allowed"])
async def test_a_callers_role_that_cannot_be_looked_up(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: AccessDenied | None
) -> None:
    answers(monkeypatch, "role", answer)
    monkeypatch.setattr("vlm_runner.aws.account.AwsAccount.caller", a_session)

    check = await world.only("C21", Status.UNKNOWN)

    assert "iam:GetRole" in (check.fix or "")


async def test_a_public_bucket(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "_public", answer=True)
    world.make_bucket()

    check = await world.only("C16")

    assert "put-public-access-block" in (check.fix or "")


async def test_a_bucket_whose_block_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "_blocks", answer=None)
    world.make_bucket()

    check = await world.only("C16", Status.UNKNOWN)

    assert "s3:GetBucketPublicAccessBlock" in (check.fix or "")


async def test_a_quota_that_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "quota", answer=None)

    check = await world.only("C17", Status.UNKNOWN)

    assert "servicequotas:GetServiceQuota" in (check.fix or "")


@pytest.mark.parametrize(
    ("base", "fix"),
    [
        (NOVA, "--quota-code L-127FC9D0"),
        ("amazon.nova-pro-v1:0:300k", "--quota-code L-E48B7984"),
        ("amazon.nova-2-lite-v1:0:256k", 'Set mode = "on-demand"'),
    ],
)
async def test_too_few_units_of_this_model(world: World, base: str, fix: str) -> None:
    """
    No value was applied, so AWS's default counts, which is 0; that of the 24k variants is not asked for.
    """
    world.sandbox.state.change_scenario({"no_commitment_units": 0})
    try:
        check = await world.only("C18", model={"base": base})
    finally:
        world.sandbox.state.change_scenario({"no_commitment_units": 2})

    assert fix in (check.fix or "")
    assert "24k" not in check.message
    raises = "does not raise" in check.message
    assert raises == (base == "amazon.nova-2-lite-v1:0:256k")


async def test_an_answer_without_a_date(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "time", answer=None)

    await world.only("C20", Status.UNKNOWN)


async def test_what_may_not_be_asked_is_named_and_stops_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(
        monkeypatch, "running_jobs", AccessDenied("not authorized", operation="ListModelCustomizationJobs")
    )

    check = await world.only("C00", Status.UNKNOWN)

    assert "ListModelCustomizationJobs" in (check.fix or "")
    assert "C23" in {each.code for each in await world.examined()}


async def test_a_clock_that_is_off(world: World) -> None:
    world.now += timedelta(minutes=7)

    check = await world.only("C20")

    off = re.search(r"(\d+) seconds off", check.message)
    assert off is not None
    assert 415 <= int(off[1]) < 500  # however long the answer took


async def test_a_taken_name(world: World) -> None:
    world.name = "Run 'cats' exists, and was started from another spec."

    await world.only("C22")


async def test_a_store_that_cannot_be_written(world: World) -> None:
    world.store = world.folder / "file" / "below"
    (world.folder / "file").write_text("a file, no folder")

    await world.only("C23")


async def test_a_store_without_its_bucket(world: World) -> None:
    world.store = lambda session: (session.state_objects("nowhere-at-all"), "runs")

    await world.only("C23")


async def test_a_store_in_s3_keeps_conditional_writes_and_no_probe_is_left(world: World) -> None:
    world.make_bucket()
    world.store = lambda session: (session.state_objects(BUCKET), "store")

    found = await world.examined()

    assert [check.status for check in found if check.code == "C23"] == [Status.GOOD]
    assert "Contents" not in world.s3.list_objects_v2(Bucket=BUCKET, Prefix="store")


async def test_a_store_that_takes_every_write(world: World) -> None:
    class Careless:
        bucket = "careless"

        async def put(self, *_: object, **__: object) -> None:
            pass

        async def put_if(self, *_: object, **__: object) -> str:
            return '"etag"'

        async def delete(self, _: str) -> None:
            raise Conflict("kept.")

    world.store = lambda _: (Careless(), "store")

    await world.only("C24")
    await world.only("C25", Status.DOUBTFUL)


BEDROCK = {
    "Effect": "Allow",
    "Principal": {"Service": "bedrock.amazonaws.com"},
    "Action": "sts:AssumeRole",
}


@pytest.mark.parametrize(
    ("statements", "trusted"),
    [
        pytest.param(BEDROCK, True, id="a statement without its list"),
        pytest.param([BEDROCK | {"Action": ["STS:assumeRole", "sts:TagSession"]}], True, id="in any case"),
        pytest.param([BEDROCK | {"Action": "sts:*"}], True, id="by a wildcard"),
        pytest.param([BEDROCK | {"Action": "sts:TagSession"}], False, id="another action"),
        pytest.param([BEDROCK | {"Effect": "Deny"}], False, id="a denial is no trust"),
        pytest.param([BEDROCK, BEDROCK | {"Effect": "Deny"}], False, id="a denial wins"),
        pytest.param(
            [BEDROCK | {"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}],
            False,
            id="a denial under a condition is no trust either",
        ),
        pytest.param(
            [BEDROCK, BEDROCK | {"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}],
            True,
            id="a denial under a condition is not judged",
        ),
        pytest.param(
            [BEDROCK | {"Principal": {"Service": "ec2.amazonaws.com"}}], False, id="another service"
        ),
        pytest.param(
            [BEDROCK | {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}], False, id="an account"
        ),
        pytest.param([BEDROCK | {"Principal": "*"}], False, id="anybody, which services are not"),
    ],
)
def test_who_is_trusted(statements: Any, *, trusted: bool) -> None:
    assert bool(trusts({"Statement": statements}, "bedrock.amazonaws.com")) is trusted


def test_the_role_may_list_read_and_write_what_a_run_puts_there() -> None:
    scope = scope_of(spec(storage={"prefix": "team"}), load_catalogue().find(NOVA), ACCOUNT, "us-east-1")
    ours = {"StringEquals": {"aws:ResourceAccount": ACCOUNT}}
    folders = ["team/images/*", "team/data/*", "team/runs/*"]

    assert role_policy(scope)["Statement"] == [
        {
            "Sid": "List",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": f"arn:aws:s3:::{BUCKET}",
            "Condition": ours,
        },
        {
            "Sid": "Read",
            "Effect": "Allow",
            "Action": ["s3:GetObject"],
            "Resource": [f"arn:aws:s3:::{BUCKET}/{folder}" for folder in folders],
            "Condition": ours,
        },
        {
            "Sid": "Write",
            "Effect": "Allow",
            "Action": ["s3:PutObject"],
            "Resource": [f"arn:aws:s3:::{BUCKET}/team/runs/*/output/*"],
            "Condition": ours,
        },
    ]


def test_a_key_for_the_model_is_used_through_bedrock_only_by_role_and_caller() -> None:
    made = spec(training={"role_arn": ROLE, "kms_key": MODEL_KEY})
    scope = scope_of(made, load_catalogue().find(NOVA), ACCOUNT, "us-east-1")

    found = [
        [each for each in document(scope)["Statement"] if each["Sid"] == "ModelKey"]
        for document in (role_policy, caller_policy)
    ]

    through = {"StringEquals": {"kms:ViaService": "bedrock.us-east-1.amazonaws.com"}}
    common = {"Sid": "ModelKey", "Effect": "Allow", "Resource": MODEL_KEY, "Condition": through}
    everything = ["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey", "kms:CreateGrant"]
    assert found == [[common | {"Action": everything}], [common | {"Action": ["kms:Decrypt"]}]]


def test_a_role_for_a_vpc_makes_interfaces_in_its_subnets_only_and_uses_those_of_bedrock_only() -> None:
    made = spec(training={"role_arn": ROLE, "vpc": VPC})
    scope = scope_of(made, load_catalogue().find(NOVA), ACCOUNT, "us-east-1")

    found = {each["Sid"]: each for each in role_policy(scope)["Statement"]}

    ec2 = f"arn:aws:ec2:us-east-1:{ACCOUNT}"
    assert found["JoinTheVpc"]["Resource"] == [f"{ec2}:subnet/subnet-0a1", f"{ec2}:security-group/sg-0c3"]
    assert found["UseInterfaces"]["Condition"] == {"StringEquals": {"aws:ResourceTag/BedrockManaged": "true"}}
    assert "ec2:" not in json.dumps(caller_policy(scope))


@pytest.mark.parametrize(
    ("source", "resources"),
    [
        ("s3://b/rows/", ["arn:aws:s3:::b", "arn:aws:s3:::b/rows/*"]),
        ("s3://b/rows/train.jsonl", ["arn:aws:s3:::b", "arn:aws:s3:::b/rows/*"]),
        ("s3://b", ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]),
        ("owner/name", []),
    ],
)
def test_a_dataset_in_s3_may_be_listed_and_read(source: str, resources: list[str]) -> None:
    scope = scope_of(spec(dataset={"source": source}), load_catalogue().find(NOVA), ACCOUNT, "us-east-1")

    found = [each for each in caller_policy(scope)["Statement"] if each["Sid"].startswith("Dataset")]

    assert [each["Resource"] for each in found] == resources
    assert [each["Action"] for each in found] == [["s3:ListBucket"], ["s3:GetObject"]][: len(found)]


def test_the_callers_own_tags_may_be_given() -> None:
    scope = scope_of(spec(tags={"team": "a"}), load_catalogue().find(NOVA), ACCOUNT, "us-east-1")

    tag = next(each for each in caller_policy(scope)["Statement"] if each["Sid"] == "Tag")

    assert tag["Condition"] == {"ForAllValues:StringLike": {"aws:TagKeys": ["vlm-runner:*", "team"]}}


def test_policies_name_what_they_need_and_nothing_more() -> None:
    scope = scope_of(
        spec(storage={"prefix": "team"}), load_catalogue().find(NOVA), ACCOUNT, "us-east-1", store="s/runs"
    )

    found = all_documents(scope)

    text = json.dumps(found)
    actions = {
        action
        for document in found.values()
        for statement in document["Statement"]
        for action in (
            statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        )
    }
    assert not [action for action in actions if action.endswith("*")]
    assert not [
        action
        for action in actions
        if action.startswith("iam:")
        and "PassRole" not in action
        and "Get" not in action
        and action != "iam:SimulatePrincipalPolicy"
    ]
    assert "team/images/*" in text
    assert '"iam:PassedToService": "bedrock.amazonaws.com"' in text
    assert f"arn:aws:bedrock:us-east-1:{ACCOUNT}:model-customization-job/*" in text
    assert "ecs-tasks.amazonaws.com" in text
    assert "arn:aws:s3:::s/runs/*" in json.dumps(found["caller_policy"])
    for name, document in found.items():
        limit = 2048 if name.endswith("trust") else 6144
        assert len(json.dumps(document, separators=(",", ":"))) <= limit, name


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    file = tmp_path / "run.toml"
    file.write_text(
        f'[dataset]\nsource = "x"\n[model]\nbase = "{NOVA}"\n[training]\nrole_arn = "{ROLE}"\n[aws]\nregion = "us-east-1"\n'
    )
    return file


def test_iam_prints_a_document_ready_for_the_aws_cli(spec_file: Path) -> None:
    result = CliRunner().invoke(cli, ["iam", str(spec_file), "--only", "role_trust"])

    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["Statement"][0]["Principal"] == {"Service": "bedrock.amazonaws.com"}


def test_the_doctor_ends_with_4_where_something_is_bad(world: World, spec_file: Path, tmp_path: Path) -> None:
    world.iam.delete_role_policy(RoleName="sft", PolicyName="vlm-runner")
    world.iam.delete_role(RoleName="sft")
    where = ["--endpoint-url", world.sandbox.url, "--store", str(tmp_path)]

    result = CliRunner().invoke(cli, ["doctor", str(spec_file), "--json", *where])
    text = CliRunner().invoke(cli, ["doctor", str(spec_file), *where])

    assert result.exit_code == 4, result.output
    assert {"C06"} == {check["code"] for check in json.loads(result.stdout) if check["status"] == "bad"}
    assert f"vlm-runner iam {spec_file} --only role_trust" in text.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), "good: free"),
        (("--run-id", "dogs"), "good: free"),
        (("--run-id", "{taken}"), "bad: Run '{taken}' exists, and was started from another spec."),
    ],
)
def test_the_doctor_looks_whether_the_store_has_a_run_of_that_name(
    world: World, spec_file: Path, tmp_path: Path, words: tuple[str, ...], found: str
) -> None:
    run, history = happy_runs()[-1]
    state = tmp_path / "store" / "runs" / run.run_id / "state.json"
    state.parent.mkdir(parents=True)
    state.write_bytes(to_bytes(Checkpoint(write_id="w", holder=None, run=run, history=history)))
    where = ["--endpoint-url", world.sandbox.url, "--store", str(tmp_path / "store"), "--json"]

    result = CliRunner().invoke(
        cli, ["doctor", str(spec_file), *(word.format(taken=run.run_id) for word in words), *where]
    )

    (check,) = (check for check in json.loads(result.stdout) if check["code"] == "C22")
    assert f"{check['status']}: {check['message']}" == found.format(taken=run.run_id)


@pytest.mark.parametrize("other", [{"prefix": "second"}, {"bucket": "another-one"}, {"prefix": "a/b"}])
def test_the_policy_of_one_spec_does_not_replace_that_of_another(other: dict[str, str]) -> None:
    profile = load_catalogue().find(NOVA)
    names = [
        scope_of(made, profile, ACCOUNT, "us-east-1").policy_name for made in (spec(), spec(storage=other))
    ]

    assert len(set(names)) == 2
    assert all(re.fullmatch(r"[\w+=,.@-]{1,128}", name) for name in names)


async def test_the_price_list_is_read(world: World) -> None:
    found = [check for check in await world.examined() if check.code == "C40"]

    assert [(check.status, check.message) for check in found] == [
        (Status.GOOD, "training: $0.002 for 1K tokens")
    ]


async def test_a_price_list_that_may_not_be_read(world: World) -> None:
    no = {"operation": "GetProducts", "kind": "error", "code": "AccessDeniedException", "status": 400}
    world.sandbox.faults.add([no | {"times": None}])
    try:
        check = await world.only("C40", Status.UNKNOWN)
    finally:
        world.sandbox.faults.clear()

    assert "pricing:GetProducts" in (check.fix or "")


def test_the_doctor_does_not_end_well_where_aws_did_not_answer(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "USES", dict.fromkeys(session.USES, (1, 1, 1)))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    where = ["--endpoint-url", "http://127.0.0.1:9", "--store", str(tmp_path)]

    result = CliRunner().invoke(cli, ["doctor", str(spec_file), "--json", *where])

    assert result.exit_code == 75, result.output
    assert {"C01"} == {check["code"] for check in json.loads(result.stdout) if check["status"] == "unknown"}


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        ('[storage]\nbucket = "*"', ()),
        ('[dataset]\nsource = "s3://*/x/"', ()),
        ("", ("--store", "s3://*")),
        ("", ("--stack", "*")),
        ("", ("--pipeline", "p?")),
        ("", ("--region", "*")),
        (f'[training]\nrole_arn = "{ROLE.rpartition("/")[0]}/*"', ()),
        (f'[training]\nrole_arn = "{ROLE.rpartition("/")[0]}/${{aws:username}}"', ()),
    ],
)
def test_no_name_of_a_spec_becomes_a_pattern_in_a_policy(
    lines: str, options: tuple[str, ...], spec_file: Path
) -> None:
    text = spec_file.read_text()
    section = lines.partition("\n")[0]
    spec_file.write_text(
        re.sub(rf"(?m)^{re.escape(section)}\n.*$", lambda _: lines, text) if section in text else text + lines
    )

    result = CliRunner().invoke(cli, ["iam", str(spec_file), *options])

    assert isinstance(result.exception, ConfigurationError), result.output
    assert result.stdout == ""
