"""What is said about an image that `vlm_runner.ingest` has examined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vlm_runner.lint.rules import rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlm_runner.ingest.inspect import ImageDefect, ImageFacts
    from vlm_runner.lint.finding import Finding, Location
    from vlm_runner.models import ModelProfile
    from vlm_runner.models.profile import Source

EXTENSIONS: Final = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "gif": "gif", "webp": "webp"}
MENDED_BY_FIT: Final = frozenset({"I130", "I131", "I132", "I138"})


def defect(
    found: ImageDefect, profile: ModelProfile, at: Location, *, sent_as_it_is: bool = False
) -> Finding:
    """Why staging refuses the image; `sent_as_it_is`: no setting of a spec mends it."""
    fixes = "fit" if found.code in MENDED_BY_FIT else "skip"
    return rule(found.code).found(
        str(found),
        source=_source(found.code, profile),
        fix=None if sent_as_it_is else found.hint,
        fixes=None if sent_as_it_is else fixes,
        at=at,
    )


def _source(code: str, profile: ModelProfile) -> Source | None:
    """Where the model's documentation says so."""
    images = profile.images
    if code in {"I130", "I138"}:
        return images.source_of("max_bytes")
    if code in {"I131", "I132"}:
        return (
            images.source_of("max_side") if images.max_side else profile.inference.source_of("max_image_side")
        )
    return images.source_of("min_side") if code == "I133" else None


def notes(facts: ImageFacts, path: str | None, at: Location) -> Iterator[Finding]:
    """What is special about an image that can be used; `path` is its name in the dataset."""
    for code, words in facts.notes:
        yield rule(code).found(words, at=at)
    name = (path or "").rpartition(".")[2].lower()
    if EXTENSIONS.get(name, facts.format) != facts.format:
        yield rule("I145").found(f"'{path}' is {facts.format}", at=at)


def very_small(facts: ImageFacts, profile: ModelProfile, at: Location) -> Iterator[Finding]:
    least = profile.images.small_side
    if least is not None and min(facts.width, facts.height) < least:
        yield rule("I151").found(
            f"{facts.width:,}x{facts.height:,} pixels; {least} a side is the least",
            source=profile.images.source_of("small_side"), at=at,
        )  # fmt: skip


def too_large_for_a_call(
    facts: ImageFacts, size: int, profile: ModelProfile, at: Location
) -> Iterator[Finding]:
    limits = profile.inference
    if size > limits.max_image_bytes or max(facts.width, facts.height) > limits.max_image_side:
        yield rule("I150").found(
            f"{facts.width:,}x{facts.height:,} pixels, {size:,} bytes; a call takes "
            f"{limits.max_image_side:,} a side and {limits.max_image_bytes:,} bytes",
            source=limits.source_of("max_image_bytes"), at=at,
        )  # fmt: skip
