"""Where rows come from: the Hub, local files, saved datasets and S3. Importing it loads nothing heavy."""

from __future__ import annotations

from vlm_runner.dataset.columns import Finding, findings
from vlm_runner.dataset.rows import Opened, Row, Subset
from vlm_runner.dataset.source import open_dataset

__all__ = ["Finding", "Opened", "Row", "Subset", "findings", "open_dataset"]
