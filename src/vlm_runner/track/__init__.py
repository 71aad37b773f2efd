"""Experiment trackers: MLflow, Weights & Biases, TensorBoard; clients are imported where they are used."""

from vlm_runner.track.tracked_run import TrackedRun, tracked_run
from vlm_runner.track.trackers import Tracker, Trackers, open_trackers

__all__ = ["TrackedRun", "Tracker", "Trackers", "open_trackers", "tracked_run"]
