"""Experiment trackers: MLflow, Weights & Biases, TensorBoard; clients are imported where they are used."""

from vlm_runner.track.tracked_run import TrackedRun, tracked_run
from vlm_runner.track.trackers import Tracker, Trackers, open_trackers, reason_of

__all__ = ["TrackedRun", "Tracker", "Trackers", "open_trackers", "reason_of", "tracked_run"]
