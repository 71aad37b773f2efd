"""How good answers are, compared with their references; pure."""

from __future__ import annotations

from vlm_runner.evaluate.answers import AnsweredRow, ModelAnswer, from_line, to_line
from vlm_runner.evaluate.evaluation import Evaluation, evaluate
from vlm_runner.evaluate.installed import check_metrics, load_metrics
from vlm_runner.evaluate.metrics import Metric, scores

__all__ = [
    "AnsweredRow",
    "Evaluation",
    "Metric",
    "ModelAnswer",
    "check_metrics",
    "evaluate",
    "from_line",
    "load_metrics",
    "scores",
    "to_line",
]
