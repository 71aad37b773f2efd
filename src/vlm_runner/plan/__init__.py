"""What a run would do, and what it would cost. Pure: everything is told."""

from __future__ import annotations

from vlm_runner.plan.cost import Cost, estimate, within
from vlm_runner.plan.plan import Origin, Plan, Upload, plan_json, plan_text

__all__ = ["Cost", "Origin", "Plan", "Upload", "estimate", "plan_json", "plan_text", "within"]
