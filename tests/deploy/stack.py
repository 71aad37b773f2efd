"""deploy/template.yaml, created in a sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.laptop import Laptop

TEMPLATE = Path(__file__).parents[2] / "deploy" / "template.yaml"


def create_stack(laptop: Laptop, **parameters: str) -> dict[str, str]:
    """The outputs."""
    ec2 = laptop.boto("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    values = {"Image": "vlm-runner:test", "Subnets": subnet, "SecurityGroups": group} | parameters
    cloudformation = laptop.boto("cloudformation")
    cloudformation.create_stack(
        StackName="vlm-runner",
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    found = cloudformation.describe_stacks(StackName="vlm-runner")["Stacks"][0]
    assert found["StackStatus"] == "CREATE_COMPLETE"
    return {item["OutputKey"]: item["OutputValue"] for item in found["Outputs"]}
