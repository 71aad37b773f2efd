"""How a model is served; apart from the spec, so that `--help` can list it without the spec's models."""

from __future__ import annotations

from enum import StrEnum


class ServingMode(StrEnum):
    AUTO = "auto"
    """On demand where the model can be served so, else provisioned; a run knows which (models/settle.py)."""
    PROVISIONED = "provisioned"
    ON_DEMAND = "on-demand"
    NONE = "none"
