"""
The policies that `vlm-runner iam` prints: enough for whole runs, and nothing too much.

One recording of what the runs asked of IAM, over HTTP, is judged again without each single statement.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock

from tests.conformance.reference import acts_on, authorization_reference
from vlm_runner.clock import SystemClock

from .judgements import needless
from .laptop import ACCOUNT, Laptop

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from .judgements import Judgement

HOUR = 3600
INTERRUPTED, CANCELLED = 101, 103  # exit codes
JOB_ROLE = f"arn:aws:iam::{ACCOUNT}:role/of-the-job"
SWITCH_ROLE = f"arn:aws:iam::{ACCOUNT}:role/of-the-switch"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
MODEL_KEY = KEY.replace("1111", "9999")
GUARDED = f"""kms_key = "{MODEL_KEY}"
vpc = {{ subnets = ["subnet-0a1"], security_groups = ["sg-0b2"] }}"""
STORE = "s3://checkpoints-of-cats/v"


@dataclass
class Recorded:
    documents: dict[str, Any]
    judgements: list[Judgement]

    def of(self, principal: str) -> list[Judgement]:
        return [one for one in self.judgements if principal in one["principal"]]


def user(laptop: Laptop, name: str, policy: Any) -> dict[str, str]:
    """The environment of somebody with this policy and no other."""
    iam = laptop.boto("iam")
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def role(laptop: Laptop, arn: str, trust: Any, policy: Any) -> None:
    iam, name = laptop.boto("iam"), arn.rpartition("/")[2]
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(policy))


class InTwoMonths(SystemClock):
    def now(self) -> datetime:
        return super().now() + timedelta(days=60)


def what_runs_need(laptop: Laptop, pages: Path) -> Recorded:
    """
    A run on demand to its end; one whose throughput is kept until its switch strikes; one whose deployment is
    kept too long, for `reap`; one that is cancelled while it trains. Each by somebody who has the printed
    policy and no other.
    """
    where = ("--store", STORE, "--region", "us-east-1")

    def spec(mode: str, keep: str = "", *, switched: bool = True) -> str:
        switch = f'dead_man_switch = {{ after = "12h", role_arn = "{SWITCH_ROLE}" }}' if switched else ""
        sections = {
            "training": f'role_arn = "{JOB_ROLE}"\nhyperparameters = {{ epochCount = 1 }}\n{GUARDED}',
            "serving": f'mode = "{mode}"\n{switch}\n{keep}',
            "storage": f'kms_key = "{KEY}"',
            "test": "rows = 1",
        }
        return str(laptop.spec(pages, f"{mode}{len(keep)}.toml", **sections))

    documents = json.loads(laptop.here("iam", spec("on-demand"), *where).stdout)
    role(laptop, JOB_ROLE, documents["role_trust"], documents["role_policy"])
    role(laptop, SWITCH_ROLE, documents["dead_man_trust"], documents["dead_man_policy"])
    laptop.boto("s3").create_bucket(Bucket="checkpoints-of-cats")
    runner = user(laptop, "runner", documents["caller_policy"])
    sweeper = user(laptop, "sweeper", documents["sweeper_policy"])

    def run(*words: str, expected: int = 0) -> None:
        done = laptop.here(*words, *where, **runner)
        assert done.returncode == expected, f"{words}: {done.stdout}{done.stderr}"

    def start(run_id: str, spec: str, *options: str, expected: int = 0) -> None:
        run("start", spec, "--yes", "-q", "--run-id", run_id, *options, expected=expected)

    start("to-its-end", spec("on-demand"))
    run("serve", "to-its-end", "--rows", "1", "--yes", "-q")
    start("kept", spec("provisioned", 'keep = "20h"'))
    run("ask", "kept", "--row", "0")
    run("models")
    run("keep", "kept")
    run("keep", "kept", "--undo")
    for looking in (("doctor", spec("on-demand")), ("plan", spec("on-demand")), ("report", "kept")):
        run(*looking)
    laptop.ask("clock", {"advance_seconds": 24 * HOUR})
    start("forgotten", spec("on-demand", 'keep = "1s"', switched=False), "--no-doctor", "--no-lint")
    laptop.ask("scenario", {"job_seconds": 1000 * HOUR})
    start("cancelled", spec("on-demand"), "--timeout", "3s", "--no-doctor", "--no-lint", expected=INTERRUPTED)
    run("cancel", "cancelled", expected=CANCELLED)
    run("list")
    run("delete", "to-its-end", "--yes")
    reaped = laptop.here("reap", "--yes", *where, **sweeper)
    assert "forgotten" in reaped.stdout, reaped.stdout + reaped.stderr
    with mock.patch("vlm_runner.cli.reap_endpoints.SystemClock", InTwoMonths):
        models = laptop.here("reap", "--models", "--older-than", "30d", "--yes", *where, **sweeper)
    fates = {line.split()[-1].strip(")"): line.split()[0] for line in models.stdout.splitlines()}
    assert fates == {"kept": "deleted", "forgotten": "deleted"}, models.stdout + models.stderr
    return Recorded(documents, laptop.ask("authorizations"))


def test_the_printed_policies_are_enough_and_each_of_their_statements_is_needed(
    laptop: Laptop, pages: Path
) -> None:
    recorded = what_runs_need(laptop, pages)
    denied = [one for one in recorded.judgements if one["decision"] != "allowed"]

    assert denied == []
    if reference := authorization_reference():
        asked_for = {(one["action"], one["resource"] or "*") for one in recorded.judgements}
        assert [each for each in asked_for if not acts_on(reference, each[0], [each[1]])] == []
    for document, principal in (
        ("caller_policy", "user/runner"),
        ("role_policy", "of-the-job"),
        ("dead_man_policy", "of-the-switch"),
        ("sweeper_policy", "user/sweeper"),
    ):
        asked = recorded.of(principal)
        assert asked, f"nobody used {document}"
        assert needless(recorded.documents[document]["Statement"], asked) == [], document


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
