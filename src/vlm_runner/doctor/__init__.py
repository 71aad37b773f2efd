"""What stands in a run's way outside of its data: account, role, bucket, quotas; each with the exact fix."""

from __future__ import annotations

from vlm_runner.doctor.checks import Subject, run_checks
from vlm_runner.plan.check import Check, Status

__all__ = ["Check", "Status", "Subject", "run_checks"]
