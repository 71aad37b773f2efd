"""What stands in a run's way outside of its data: account, role, bucket, quotas; each with the exact fix."""

from __future__ import annotations

from vlm_runner.doctor.checks import BEFORE_DRIVING, BEFORE_START, Subject, run_checks
from vlm_runner.plan.check import Check, Status

__all__ = ["BEFORE_DRIVING", "BEFORE_START", "Check", "Status", "Subject", "run_checks"]
