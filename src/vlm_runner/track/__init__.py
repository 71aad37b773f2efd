"""Experiment trackers: MLflow, Weights & Biases, TensorBoard; clients are imported where they are used."""

from vlm_runner.track.told import Told, told
from vlm_runner.track.trackers import Tracker, Trackers, open_trackers

__all__ = ["Told", "Tracker", "Trackers", "open_trackers", "told"]
