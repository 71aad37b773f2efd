"""Prices of today: AWS's price list over the package's snapshot, and the user's own file over both."""

from __future__ import annotations

from vlm_runner.prices.look_up import Looked, look_up
from vlm_runner.prices.stored import priced_catalogue

__all__ = ["Looked", "look_up", "priced_catalogue"]
