"""S3 as a job sees it: with the rights of its role, in its Region."""

from collections.abc import Iterable

from vlm_runner.sandbox.authorization import key_use, object_read, object_write
from vlm_runner.sandbox.guard import denial
from vlm_runner.sandbox.policies import Question
from vlm_runner.sandbox.state import SandboxState


class RoleFiles:
    """A role that is not in IAM may do everything; see `Scenario.require_roles`."""

    def __init__(self, state: SandboxState, role_arn: str, region: str) -> None:
        self._state, self._region = state, region
        self._principal = state.roles.principal(role_arn.rpartition("/")[2])

    def read(self, bucket: str, key: str) -> bytes | None:
        """The object's bytes; None if it is not there for this role."""
        objects = self._state.objects
        needs = object_read(self._state.account, bucket, key)
        if stored := objects.kms_key(bucket, key):
            needs.append(key_use(self._region, stored, "Decrypt"))
        return objects.fetch(bucket, key) if self._may(bucket, needs) else None

    def write(self, bucket: str, key: str, data: bytes) -> bool:
        """Whether the role could write the object."""
        needs = object_write(self._state.account, bucket, key)
        if default := self._state.objects.default_key(bucket):
            needs.append(key_use(self._region, default, "GenerateDataKey"))
        allowed = self._may(bucket, needs)
        if allowed:
            self._state.objects.store(bucket, key, data)
        return allowed

    def denial(self, needs: Iterable[Question]) -> str | None:
        """
        How IAM words it that the role may not do all of this; None: it may.

        Where, and in which words, a job says so is not documented.
        """
        if self._principal is None or not (refused := self._state.guard.denied(self._principal, list(needs))):
            return None
        return denial("bedrock", self._principal.arn, *refused).message

    def _may(self, bucket: str, needs: list[Question]) -> bool:
        # Buckets must be in the job's Region (user guide, fine-tuning troubleshooting).
        if self._state.objects.bucket_region(bucket) != self._region:
            return False
        return self._principal is None or self._state.guard.denied(self._principal, needs) is None
