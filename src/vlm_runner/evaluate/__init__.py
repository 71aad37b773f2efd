"""How good answers are, compared with their references; pure."""

from __future__ import annotations

from vlm_runner.evaluate.answers import AnsweredRow, AskedTurn, ModelAnswer, from_line, to_line
from vlm_runner.evaluate.evaluation import Evaluation, closest, evaluate
from vlm_runner.evaluate.installed import check_metrics, load_metrics
from vlm_runner.evaluate.intervals import Interval, score_difference, score_interval
from vlm_runner.evaluate.metrics import Metric, scores
from vlm_runner.evaluate.verdict import Verdict, verdict

__all__ = [
    "AnsweredRow",
    "AskedTurn",
    "Evaluation",
    "Interval",
    "Metric",
    "ModelAnswer",
    "Verdict",
    "check_metrics",
    "closest",
    "evaluate",
    "from_line",
    "load_metrics",
    "score_difference",
    "score_interval",
    "scores",
    "to_line",
    "verdict",
]
