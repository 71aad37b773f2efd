"""TESTING: a row's images made small enough for one call. Takes CPU time; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_runner.errors import DataError
from vlm_runner.ingest.images import downscaled
from vlm_runner.ingest.inspect import ImageDefect

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
    """
    The images within the model's limits, each alone and all together.

    Raises:
        DataError: one is not an image: what was staged was one, so something else wrote over it.
    """
    limits = profile.inference
    texts = sum(len(text.encode()) for text in question.asked.texts())
    most = min(limits.max_image_bytes, _room(limits.max_body_bytes, texts) // len(originals))
    images = []
    for number, (body, (key, form)) in enumerate(zip(originals, question.images, strict=True), 1):
        try:
            images.append(CallImage(*downscaled(body, form, most, limits.max_image_side)))
        except ImageDefect as defect:
            raise DataError(
                f"{key or f'Image {number}'} cannot be sent to the model: {defect}.", hint=defect.hint
            ) from None
    return tuple(images)


def _room(body_bytes: int, texts: int) -> int:
    """Bytes for all images of a call: base64 adds a third, JSON escapes text to at most six times."""
    return max(1, (body_bytes - ENVELOPE - 6 * texts) * 3 // 4)
