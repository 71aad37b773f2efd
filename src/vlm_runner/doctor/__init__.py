"""What stands in a run's way outside of its data: account, role, bucket, quotas; each with the exact fix."""

from __future__ import annotations

from vlm_runner.doctor.checks import Check, Patient, Status, examine

__all__ = ["Check", "Patient", "Status", "examine"]
