"""What the catalogue knows of a run's model, for what is said about money."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlm_runner.models import ModelProfile
    from vlm_runner.settings import Settings


def known_profile(base: str, settings: Settings) -> ModelProfile | None:
    """None for a model that the catalogue does not have (any more)."""
    from vlm_runner.models import load_catalogue

    return load_catalogue(settings.catalogue).known(base)
