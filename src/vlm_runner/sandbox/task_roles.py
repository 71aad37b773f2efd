"""Which roles ECS gives the tasks of a definition: moto loses those that a CloudFormation template names."""

from collections.abc import Iterator
from typing import Any

_ROLES = {"task_role_arn": "TaskRoleArn", "execution_role_arn": "ExecutionRoleArn"}


def roles_of(account: str, region: str, definition: Any) -> Iterator[str]:
    """Their ARNs. `definition` is moto's."""
    made = _properties(account, region, definition.arn)
    for attribute, member in _ROLES.items():
        if role := getattr(definition, attribute, None) or made.get(member):
            yield str(role)


def _properties(account: str, region: str, arn: str) -> dict[str, Any]:
    """Of the definition in the stack that has made it; none if no stack has."""
    # moto is imported when first needed.
    from moto.cloudformation.models import cloudformation_backends  # noqa: PLC0415
    from moto.cloudformation.parsing import clean_json  # noqa: PLC0415

    for stack in cloudformation_backends[account][region].stacks.values():
        for name, described in stack.resource_map._resource_json_map.items():  # noqa: SLF001
            if described["Type"] != "AWS::ECS::TaskDefinition":
                continue
            made: Any = stack.resource_map[name]
            if made.physical_resource_id == arn:
                found: dict[str, Any] = clean_json(described["Properties"], stack.resource_map)
                return found
    return {}
