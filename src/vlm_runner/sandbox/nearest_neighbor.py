"""
The "trained" model: it answers with the nearest training record.

No training takes place, but tuned answers differ from those of the base model and match the input.
Kept small, because the model outlives its files: a grey thumbnail and a bitmap of words for each record.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from vlm_runner.sandbox.images import ImageFacts
from vlm_runner.sandbox.records import Example

_BITS = 4096
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Likeness:
    words: int
    digests: tuple[bytes, ...]
    thumbnails: tuple[bytes, ...]


@dataclass(frozen=True)
class TrainingMemory:
    likenesses: tuple[Likeness, ...]
    answers: tuple[str, ...]

    def answer(self, prompt: str, images: Sequence[ImageFacts]) -> str:
        asked = _likeness(prompt, images)
        scores = [_distance(asked, known) for known in self.likenesses]
        return self.answers[scores.index(min(scores))]


def memory_of(examples: Sequence[Example]) -> TrainingMemory:
    return TrainingMemory(
        tuple(_likeness(example.prompt, example.images) for example in examples),
        tuple(example.answer for example in examples),
    )


def base_answer(prompt: str, images: Sequence[ImageFacts]) -> str:
    """A plausible answer of an untrained model: about the input, in no dataset's format."""
    seen = [
        f"The image is {image.width} by {image.height} pixels and rather {_shade(image.brightness)}."
        for image in images
    ]
    words = _WORD.findall(prompt)
    asked = f"The request has {len(words)} words and begins with '{' '.join(words[:6])}'."
    return " ".join([*seen, asked, "In general, check structure, contrast and labels."])


def _shade(brightness: float) -> str:
    return "bright" if brightness > 0.6 else "dark" if brightness < 0.3 else "mid-toned"


def _likeness(prompt: str, images: Sequence[ImageFacts]) -> Likeness:
    words = 0
    for word in _WORD.findall(prompt.lower()):
        words |= 1 << (crc32(word.encode()) % _BITS)
    return Likeness(
        words, tuple(image.digest for image in images), tuple(image.thumbnail for image in images)
    )


def _distance(asked: Likeness, known: Likeness) -> float:
    union = (asked.words | known.words).bit_count()
    text = 1.0 - ((asked.words & known.words).bit_count() / union if union else 1.0)
    if asked.digests == known.digests:
        return text
    pairs = list(zip(asked.thumbnails, known.thumbnails, strict=False))
    if not pairs:
        return text + 1.0
    differences = [
        sum(abs(a - b) for a, b in zip(one, two, strict=True)) / (255 * len(one)) for one, two in pairs
    ]
    return text + 0.01 + sum(differences) / len(differences)
