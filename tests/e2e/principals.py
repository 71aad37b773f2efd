"""Users and roles in a sandbox's IAM, with the policies that they are given and no others."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vlm_runner.clock import SystemClock

from .laptop import ACCOUNT

if TYPE_CHECKING:
    from datetime import datetime

    from .laptop import Laptop

JOB_ROLE = f"arn:aws:iam::{ACCOUNT}:role/of-the-job"
SWITCH_ROLE = f"arn:aws:iam::{ACCOUNT}:role/of-the-switch"


def user(laptop: Laptop, name: str, *policies: Any) -> dict[str, str]:
    """The environment of somebody who has these policies."""
    iam = laptop.boto("iam")
    iam.create_user(UserName=name)
    for number, policy in enumerate(policies):
        iam.put_user_policy(UserName=name, PolicyName=f"p{number}", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def role(laptop: Laptop, arn: str, trust: Any, *policies: Any) -> None:
    iam, name = laptop.boto("iam"), arn.rpartition("/")[2]
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    for number, policy in enumerate(policies):
        iam.put_role_policy(RoleName=name, PolicyName=f"p{number}", PolicyDocument=json.dumps(policy))


class InTwoMonths(SystemClock):
    def now(self) -> datetime:
        return super().now() + timedelta(days=60)
