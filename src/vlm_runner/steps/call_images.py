"""TESTING: a row's images made small enough for one call. Takes CPU time; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_runner.ingest.images import downscaled

if TYPE_CHECKING:
    from vlm_runner.models import ModelProfile
    from vlm_runner.steps.questions import Question

ENVELOPE = 16_384
"""Bytes of a call that are neither text nor image, generously."""


@dataclass(frozen=True, slots=True)
class CallImage:
    body: bytes
    format: str


def fitted(question: Question, originals: list[bytes], profile: ModelProfile) -> tuple[CallImage, ...]:
    """The images within the model's limits, each alone and all together."""
    limits = profile.inference
    texts = sum(len(text.encode()) for text in question.asked.texts())
    most = min(limits.max_image_bytes, _room(limits.max_body_bytes, texts) // len(originals))
    return tuple(
        CallImage(*downscaled(body, form, most, limits.max_image_side))
        for body, (_, form) in zip(originals, question.images, strict=True)
    )


def _room(body_bytes: int, texts: int) -> int:
    """Bytes for all images of a call: base64 adds a third, JSON escapes text to at most six times."""
    return max(1, (body_bytes - ENVELOPE - 6 * texts) * 3 // 4)
