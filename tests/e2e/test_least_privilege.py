"""
The policies that `vlm-runner iam` prints: with them every command passes, and without any one statement
something is refused.

Commands are run once, over HTTP, by users who have these policies and no others. What was asked of IAM
meanwhile is judged again without each single statement.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any
from unittest import mock

import click
import pytest

from tests.conformance.reference import acts_on, authorization_reference
from tests.deploy.stack import create_stack
from tests.once import once_a_session
from vlm_runner.cli import cli
from vlm_runner.doctor.documents import Scope, all_documents, verify_documents
from vlm_runner.sandbox.policies import may_assume

from . import test_images_in_place
from .judgements import is_needless, question
from .laptop import ACCOUNT, NOVA
from .principals import JOB_ROLE, SWITCH_ROLE, InTwoMonths, role, user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .judgements import Judgement
    from .laptop import Laptop

pytestmark = pytest.mark.timeout(900)  # of the first, which runs every command

HOUR = 3600
CONFLICT, INTERRUPTED, FAILED, CANCELLED = 75, 101, 100, 103  # exit codes
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
MODEL_KEY = KEY.replace("1111", "9999")
STORE_KEY = KEY.replace("1111", "7777")
GUARDED = f"""kms_key = "{MODEL_KEY}"
vpc = {{ subnets = ["subnet-0a1"], security_groups = ["sg-0b2"] }}"""
DATA = "data-of-cats"
SETTINGS = {"VLM_RUNNER_CHECKPOINT_KMS_KEY": STORE_KEY}

EVERYTHING = Scope(
    account=ACCOUNT,
    region="us-east-1",
    bucket="cats",
    role_arn=JOB_ROLE,
    base_model=NOVA,
    inference_model=NOVA,
    store="checkpoints/v",
    store_key=STORE_KEY,
    dead_man_role_arn=SWITCH_ROLE,
    kms_key=KEY,
    model_key=MODEL_KEY,
    subnets=("subnet-0a1",),
    security_groups=("sg-0b2",),
    source=DATA,
    prefix="team/",
    tag_keys=("team",),
    in_place=("photos/",),
)
"""All that makes `iam` print a statement."""
PRINTED = all_documents(EVERYTHING) | verify_documents(EVERYTHING)
POLICIES = {
    # document: who had it (the task's is the caller's), and the documents that they had beside it
    "caller_policy": ("user/runner", ()),
    "role_policy": ("of-the-job", ()),
    "dead_man_policy": ("of-the-switch", ()),
    "sweeper_policy": ("user/sweeper", ()),
    "submit_policy": ("user/submitter", ("caller_policy",)),
    "sagemaker_policy": ("user/pipeliner", ("caller_policy",)),
    "cost_policy": ("user/accountant", ("caller_policy",)),
    "verify_policy": ("user/verifier", ("caller_policy",)),
    "verify_switch_policy": ("of-the-switch", ("dead_man_policy",)),
}
ELSEWHERE = {
    "ImagesInPlace": test_images_in_place.test_without_the_printed_right_to_them_the_run_does_not_begin
}
"""The statements that specs of another kind need, and what fails without them."""
TRUSTS = {
    # document: the service, and what it says when it assumes the role
    "role_trust": ("bedrock", f"arn:aws:bedrock:us-east-1:{ACCOUNT}:model-customization-job/x"),
    "dead_man_trust": ("scheduler", f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule-group/default"),
    "ecs_task_trust": ("ecs-tasks", f"arn:aws:ecs:us-east-1:{ACCOUNT}:task/cats/1"),
}
ASK_NOTHING = {
    "completion": "prints a script",
    "demo": "has a sandbox of its own",
    "health": "reads a file",
    "iam": "takes the account from the role's ARN",
    "init": "reads a dataset that lies here or on the Hub",
    "sandbox check": "asks a sandbox",
    "sandbox serve": "is the sandbox",
}
"""The commands that ask AWS nothing, and why."""

LEVELS: tuple[tuple[int, float, dict[str, Any]], ...] = (
    # So that the job is stopped in its first part, however slow this machine is.
    (2, HOUR, {"job_seconds": 1e6, "token_memory_seconds": 1e6}),
    (3, HOUR, {"job_seconds": None}),
    # The switch of level 4 has 90 simulated minutes.
    (4, 60, {"job_seconds": 30, "model_creating_seconds": 5, "throughput_seconds": 60}),
)
"""Of a verification: the sandbox's speed, and what goes on in it."""


@dataclass
class Recorded:
    documents: dict[str, Any]
    judgements: list[Judgement] = field(default_factory=list)
    typed: set[str] = field(default_factory=set)
    """Commands that were run by somebody who has printed policies and no others."""

    def of(self, principal: str) -> list[Judgement]:
        return [one for one in self.judgements if principal in one["principal"]]


@dataclass
class Account:
    laptop: Laptop
    stack: dict[str, str]
    recorded: Recorded

    @property
    def where(self) -> tuple[str, ...]:
        return ("--store", self.stack["CheckpointUri"], "--region", "us-east-1")

    def spec(self, mode: str, keep: str = "", *, name: str = "", switched: bool = True) -> str:
        switch = f'dead_man_switch = {{ after = "12h", role_arn = "{SWITCH_ROLE}" }}' if switched else ""
        sections = {
            "dataset": f'source = "s3://{DATA}"\nvalidation_split = "validation"',
            "training": f'role_arn = "{JOB_ROLE}"\nhyperparameters = {{ epochCount = 1 }}\n{GUARDED}',
            "serving": f'mode = "{mode}"\n{switch}\n{keep}',
            "storage": f'bucket = "cats-of-{ACCOUNT}"\nkms_key = "{KEY}"',
            "test": "rows = 1",
        }
        return str(self.laptop.spec(self.laptop.home, name or f"{mode}{len(keep)}.toml", **sections))

    def user(self, name: str, *documents: str) -> By:
        printed = self.recorded.documents
        return By(self, user(self.laptop, name, *(printed[each] for each in documents)))

    def role(self, arn: str, *documents: str) -> None:
        role(self.laptop, arn, *(self.recorded.documents[each] for each in documents))


@dataclass
class By:
    """Who types."""

    account: Account
    environment: dict[str, str]

    def __call__(self, *words: str, expected: int = 0, **more: str) -> str:
        line = (*words, *self.account.where)
        done = self.account.laptop.here(*line, **SETTINGS, **self.environment, **more)
        assert done.returncode == expected, f"{words}: {done.stdout}{done.stderr}"
        self.account.recorded.typed.add(command_of(words))
        return done.stdout + done.stderr


def command_of(words: tuple[str, ...]) -> str:
    group = isinstance(cli.get_command(click.Context(cli), words[0]), click.Group)
    return " ".join(words[:2]) if group else words[0]


def commands(group: click.Group = cli, before: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} ")
        else:
            yield before + name


def run_every_command(account: Account, pages: Path) -> None:
    laptop = account.laptop
    runner = account.user("runner", "caller_policy")
    sweeper = account.user("sweeper", "sweeper_policy")
    on_demand = account.spec("on-demand")
    unattended = ("--no-doctor", "--no-lint")

    def start(run_id: str, spec: str, *options: str, expected: int = 0) -> None:
        runner("start", spec, "--yes", "-q", "--run-id", run_id, *options, expected=expected)

    runner("prices", "--refresh")
    for looking in ("doctor", "plan", "lint", "preview"):
        runner(looking, on_demand)
    start("to-its-end", on_demand)
    runner("serve", "to-its-end", "--rows", "1", "--yes", "-q")
    start("kept", account.spec("provisioned", 'keep = "20h"'))
    runner("ask", "kept", "--row", "0")
    runner("models")
    runner("keep", "kept")
    runner("keep", "kept", "--undo")
    for looking in ("report", "status", "events", "watch"):
        runner(looking, "kept")
    runner("track", "kept", VLM_RUNNER_TRACKING__TENSORBOARD=str(laptop.home / "board"))
    account.user("accountant", "caller_policy", "cost_policy")("cost", "kept", "--yes")
    laptop.ask("clock", {"advance_seconds": 24 * HOUR})
    start("given-back", account.spec("on-demand", 'keep = "2h"', switched=False), *unattended)
    runner("release", "given-back")
    start("forgotten", account.spec("on-demand", 'keep = "1s"', switched=False), *unattended)
    sweep = laptop.home / "sweep.toml"
    untrained = account.spec("none", name="none.toml")
    sweep.write_text(f'spec = "{untrained}"\n[grid]\n"training.hyperparameters.epochCount" = [2]\n')
    runner("sweep", str(sweep), "--yes", "-q")

    laptop.ask("scenario", {"job_seconds": 1000 * HOUR})
    start("cancelled", on_demand, "--timeout", "3s", *unattended, expected=INTERRUPTED)
    runner("stage", "cancelled", "--verify")
    runner("resume", "cancelled", "--timeout", "1s", "-q", expected=INTERRUPTED)
    runner("cancel", "cancelled", expected=CANCELLED)
    runner("list")
    runner("delete", "to-its-end", "--yes")
    reaped = sweeper("reap", "--yes")
    assert "forgotten" in reaped
    with mock.patch("vlm_runner.cli.reap_endpoints.SystemClock", InTwoMonths):
        models = sweeper("reap", "--models", "--older-than", "30d", "--yes")
    deleted = {line.split()[-1].strip(")") for line in models.splitlines() if line.startswith("deleted")}
    assert {"kept", "forgotten"} <= deleted, models


def submit_and_use_a_pipeline(account: Account) -> None:
    """Nothing is driven: what a task and the steps of a pipeline may do is tested in tests/deploy."""
    spec = account.spec("on-demand")
    account.user("submitter", "caller_policy", "submit_policy")("submit", spec, "--yes", "--run-id", "sent")
    pipeliner = account.user("pipeliner", "caller_policy", "sagemaker_policy")
    image = ("--image", "vlm-runner", "--role-arn", account.stack["PipelineRoleArn"])
    pipeliner("sagemaker", "upsert", *image)
    pipeliner("sagemaker", "start", spec, "--yes", "--run-id", "piped")
    pipeliner("sagemaker", "stop", "piped")
    pipeliner("sagemaker", "wait", "piped", "--poll", "0.2", expected=CANCELLED)
    # A step that fails is asked for its reason.
    pipeliner("sagemaker", "upsert", *image, "--env", "VLM_RUNNER_UPLOAD__CONCURRENCY=none")
    pipeliner("sagemaker", "start", spec, "--yes", "--run-id", "piped")
    pipeliner("sagemaker", "wait", "piped", "--poll", "0.2", expected=FAILED)
    pipeliner("sagemaker", "describe", "piped")
    pipeliner("sagemaker", "delete")


def verify_each_level(account: Account) -> None:
    laptop = account.laptop
    iam = laptop.boto("iam")
    text = json.dumps(account.recorded.documents["verify_switch_policy"])
    iam.put_role_policy(RoleName="of-the-switch", PolicyName="verify_switch_policy", PolicyDocument=text)
    verifier = account.user("verifier", "caller_policy", "verify_policy")
    spec = account.spec("auto", name="verified.toml")
    for level, speed, scenario in LEVELS:
        laptop.ask("scenario", scenario)
        laptop.ask("clock", {"speed": speed})
        flags = ("--rent-throughput",) if level == 4 else ()
        verifier("verify", spec, "--level", str(level), "--max-cost", "500", "--yes", *flags)


@pytest.fixture(scope="module")
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Of one worker's sandbox, for all of them."""

    def make() -> dict[str, Any]:
        laptop, pages = (request.getfixturevalue(name) for name in ("shared_sandbox", "pages"))
        return record(laptop.anew(tmp_path_factory.mktemp("account"), speed=HOUR), pages)

    found = once_a_session(tmp_path_factory, "least_privilege", make)
    return Recorded(found["documents"], found["judgements"], set(found["typed"]))


def record(laptop: Laptop, pages: Path) -> dict[str, Any]:
    stack = create_stack(laptop, KmsKeyArn=STORE_KEY)
    account = Account(laptop, stack, Recorded({}))
    s3 = laptop.boto("s3")
    s3.create_bucket(Bucket=DATA)
    for file in pages.iterdir():
        s3.put_object(Bucket=DATA, Key=file.name, Body=file.read_bytes())
    printed = laptop.here("iam", account.spec("on-demand"), *account.where, **SETTINGS).stdout
    more = laptop.here("iam", account.spec("on-demand"), "--verify", *account.where, **SETTINGS).stdout
    account.recorded.documents |= json.loads(printed) | json.loads(more)
    account.role(JOB_ROLE, "role_trust", "role_policy")
    account.role(SWITCH_ROLE, "dead_man_trust", "dead_man_policy")

    try:
        run_every_command(account, pages)
        submit_and_use_a_pipeline(account)
        account.recorded.judgements += laptop.ask("authorizations")
        verify_each_level(account)
    finally:
        laptop.kill_runners()
    account.recorded.judgements += [
        one for one in laptop.ask("authorizations") if one not in account.recorded.judgements
    ]
    return asdict(account.recorded) | {"typed": sorted(account.recorded.typed)}


def test_every_command_was_run_with_the_printed_policies_or_asks_aws_nothing(recorded: Recorded) -> None:
    assert set(commands()) == recorded.typed | set(ASK_NOTHING)
    assert recorded.typed & set(ASK_NOTHING) == set()


def test_nothing_that_the_commands_need_is_denied(recorded: Recorded) -> None:
    denied = [one for one in recorded.judgements if one["decision"] != "allowed"]

    assert denied == []
    if reference := authorization_reference():
        asked_for = {(one["action"], one["resource"] or "*") for one in recorded.judgements}
        assert [each for each in asked_for if not acts_on(reference, each[0], [each[1]])] == []


def test_a_dataset_in_s3_is_read_by_two_of_the_printed_statements(laptop: Laptop, pages: Path) -> None:
    """With them a whole run succeeds; without either nothing is created, and the right is named."""
    s3 = laptop.boto("s3")
    s3.create_bucket(Bucket="data-of-mine")
    for name in ("train", "validation"):
        s3.put_object(
            Bucket="data-of-mine", Key=f"in/{name}.parquet", Body=(pages / f"{name}.parquet").read_bytes()
        )
    dataset = 'source = "s3://data-of-mine/in/"\nvalidation_split = "validation"'
    spec = str(laptop.spec(pages, dataset=dataset, training=f'role_arn = "{JOB_ROLE}"'))
    documents = json.loads(laptop.here("iam", spec, "--region", "us-east-1").stdout)
    role(laptop, JOB_ROLE, documents["role_trust"], documents["role_policy"])
    whole = documents["caller_policy"]

    for lacking, right in (("DatasetList", "s3:ListBucket"), ("Dataset", "s3:GetObject")):
        kept = [each for each in whole["Statement"] if each["Sid"] != lacking]
        assert len(kept) == len(whole["Statement"]) - 1
        keys = user(laptop, f"without-{lacking}", whole | {"Statement": kept})
        refused = laptop.here("start", spec, "--yes", "--run-id", "refused", **keys)
        assert refused.returncode == 5, refused.stderr
        assert right in refused.stderr
        assert "s3:::data-of-mine" in refused.stderr
        assert laptop.phase("refused") is None
    done = laptop.here("start", spec, "--yes", "-q", "--run-id", "allowed", **user(laptop, "runner", whole))

    assert done.returncode == 0, done.stderr
    assert len(laptop.paid("customization_job")) == 1


def sids(document: Any) -> list[str]:
    found = [statement.get("Sid", "only") for statement in document["Statement"]]
    return [each for each in found if each not in ELSEWHERE]


@pytest.mark.parametrize(
    ("document", "sid"), [(name, sid) for name in POLICIES for sid in sids(PRINTED[name])]
)
def test_without_a_statement_something_is_refused(recorded: Recorded, document: str, sid: str) -> None:
    principal, beside = POLICIES[document]
    statements = [one for name in (document, *beside) for one in recorded.documents[name]["Statement"]]
    (left_out,) = [one for one in recorded.documents[document]["Statement"] if one["Sid"] == sid]
    asked = recorded.of(principal)

    assert asked, f"nobody used {document}"
    assert not is_needless(left_out, statements, [question(one) for one in asked])


def test_each_printed_document_is_judged(recorded: Recorded) -> None:
    assert [each.name for each in fields(Scope) if not getattr(EVERYTHING, each.name)] == []
    assert set(recorded.documents) == set(POLICIES) | set(TRUSTS) | {"ecs_task_policy"}
    assert recorded.documents["ecs_task_policy"] == recorded.documents["caller_policy"]
    assert {name: sids(one) for name, one in recorded.documents.items()} == {
        name: sids(one) for name, one in PRINTED.items()
    }


@pytest.mark.parametrize("document", TRUSTS)
def test_without_its_trust_a_role_cannot_be_assumed(recorded: Recorded, document: str) -> None:
    service, source = TRUSTS[document]
    context = {"aws:SourceAccount": (ACCOUNT,), "aws:SourceArn": (source,)}
    trust = recorded.documents[document]

    assert len(trust["Statement"]) == 1
    assert may_assume(trust, f"{service}.amazonaws.com", context)
    assert not may_assume({"Statement": []}, f"{service}.amazonaws.com", context)
    elsewhere = {**context, "aws:SourceAccount": ("999999999999",)}
    assert not may_assume(trust, f"{service}.amazonaws.com", elsewhere)
