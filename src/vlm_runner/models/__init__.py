"""What each base model allows and costs, and the payloads that go in and come out."""

from __future__ import annotations

from vlm_runner.models.answer import Answer
from vlm_runner.models.catalogue import Catalogue, find, load_catalogue
from vlm_runner.models.conversation import converse_answer, converse_request, record, record_line
from vlm_runner.models.families import FAMILIES, Family, family_of
from vlm_runner.models.profile import Lifecycle, ModelProfile

__all__ = [
    "FAMILIES",
    "Answer",
    "Catalogue",
    "Family",
    "Lifecycle",
    "ModelProfile",
    "converse_answer",
    "converse_request",
    "family_of",
    "find",
    "load_catalogue",
    "record",
    "record_line",
]
