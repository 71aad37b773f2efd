"""
Where the images and records of a run lie in its bucket, and which other content may share them. Pure.

The first content in a bucket gets the notebook's keys, `images/{subset}/{i:03d}.png` and
`data/{subset}.jsonl`. Images are claimed by what decides their pixels, records by what decides their text: a
second prompt on the same rows shares the images and gets a JSONL file of its own; other images get folders
of their own, named by their content. Both lie within `images/` and `data/`, which the roles may read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Self

from pydantic import ValidationError

from vlm_runner.core.events import Place, Value
from vlm_runner.core.names import run_folder

if TYPE_CHECKING:
    from vlm_runner.core.run import Run

NOTEBOOK: Final = ""
"""The folder of the notebook's keys."""
FOLDER_DIGITS: Final = 16
"""Hex digits of content in a key: 64 bits, of what a person may read."""


def content_folder(digest: str) -> str:
    """The folder of images known by `digest`; no split can have its name, which has a hyphen."""
    return f"content-{digest[:FOLDER_DIGITS]}/"


def place(prefix: str, folder: str, subset: str, fingerprint: str) -> Place:
    """Where `subset` lies in `folder`, as the first content in it; `fingerprint` is of its records."""
    data = f"{prefix}data/{folder}{subset}/"
    return Place(
        images=f"{prefix}images/{folder}{subset}/",
        data=data,
        shards=shards_prefix(data, fingerprint),
        records=f"{data.removesuffix('/')}.jsonl",
    )


def shards_prefix(data: str, fingerprint: str) -> str:
    return f"{data}shards-{fingerprint[:16]}/"


def beside(first: Place, fingerprint: str) -> Place:
    """`first` for other records of the same images: the JSONL file has a key of its own."""
    return first.model_copy(update={"records": f"{first.data}records-{fingerprint[:FOLDER_DIGITS]}.jsonl"})


def claim_key(place: Place) -> str:
    """The object that says whose content a place holds."""
    return f"{place.data}content.json"


def images_markers(place: Place) -> str:
    """Prefix of the objects that say which images are in a place, whatever their records say."""
    return f"{place.data}images/"


class HeldImages(Value, frozen=True):
    """The images of some rows, in their order."""

    images: str
    """Of all that decides them; see `Content`."""
    rows: int


class KeyClaim(Value, frozen=True):
    """Whose content a place holds: one object in S3, changed by compare-and-swap only."""

    fingerprint: str = ""
    """Of the first records, which have the notebook's name for the JSONL file."""
    run_id: str = "unknown"
    """That claimed it first."""
    pixels: str = ""
    """Of image settings and model limits, which are the same for all that it holds."""
    holds: tuple[HeldImages, ...] = ()
    """Each begins with the images of every shorter one. Empty where an earlier version claimed it."""

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """What is no claim is one of nobody, and so of other content: others may write to the bucket."""
        try:
            return cls.model_validate_json(body)
        except ValidationError:
            return cls()

    @property
    def rows(self) -> int:
        return max((one.rows for one in self.holds), default=0)

    def holding(self, content: Content) -> KeyClaim:
        """With `content` among what it holds."""
        held = HeldImages(images=content.images, rows=content.rows)
        return self.model_copy(update={"holds": (*self.holds, held)})


NOBODYS: Final = KeyClaim(run_id="")
"""Of objects that no claim explains: they are other content, and are never overwritten."""


class ClosedPlace(Value, frozen=True):
    """In place of a claim while a run is deleted: to every other run the place holds other content."""

    deleting: str
    """The run that is deleted."""
    claim: KeyClaim
    """What was there, and is again if other runs still use the place."""

    @classmethod
    def parse(cls, body: bytes) -> Self | None:
        """None for a claim, and for anything else."""
        try:
            return cls.model_validate_json(body)
        except ValidationError:
            return None


@dataclass(frozen=True, slots=True)
class Content:
    """What one split of a run puts into S3."""

    subset: str
    fingerprint: str
    """Of its records (SHA-256, hex): all that decides their text, and so their images too."""
    pixels: str
    """Of image settings and model limits."""
    images: str
    """Of `pixels` and the rows' own content."""
    rows: int

    def claim(self, run_id: str) -> KeyClaim:
        first = HeldImages(images=self.images, rows=self.rows)
        return KeyClaim(fingerprint=self.fingerprint, run_id=run_id, pixels=self.pixels, holds=(first,))


class Match(Enum):
    """How the content of a place stands to another."""

    RECORDS = auto()
    """It is the same: images and records."""
    IMAGES = auto()
    """The images are the same."""
    PERHAPS = auto()
    """One may begin with the images of the other: look at them."""
    OTHER = auto()


def match(claim: KeyClaim, content: Content) -> Match:
    if claim.fingerprint == content.fingerprint:
        return Match.RECORDS
    if any(one.images == content.images for one in claim.holds):
        return Match.IMAGES
    if claim.holds and claim.pixels == content.pixels:
        return Match.PERHAPS
    return Match.OTHER


def digest(*parts: str) -> str:
    """SHA-256 (hex) over texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RunObjects:
    """What a run has in its bucket, by key prefixes (ending with a slash) and keys."""

    own: str
    """Prefix of its answers, report and training output, which no other run has."""
    places: tuple[Place, ...]
    """
    Of its splits. Another run may share the `images` of a place, and then its `data`, or also its `shards`
    and `records`.
    """
    settled: bool
    """False: the run has not claimed its places yet, so it may come to share any in its bucket."""

    def shares_images(self, place: Place) -> bool:
        return not self.settled or any(one.images == place.images for one in self.places)

    def shares_records(self, place: Place) -> bool:
        return not self.settled or any(_nested(one.shards, place.shards) for one in self.places)


def objects_of(run: Run) -> RunObjects:
    """The objects that this run uses, by what its state says."""
    own = run_folder(run)
    if run.places is not None:
        claimed = [run.places.train, run.places.validation]
    elif run.images is not None:
        claimed = [_before_claims(run, run.spec.dataset.train_name)]
        if run.images.validation is not None:
            claimed.append(_before_claims(run, run.spec.dataset.validation_name))
    else:
        claimed = []
    places = tuple(one for one in claimed if one is not None)
    return RunObjects(own, places, settled=bool(places) or run.done)


def _before_claims(run: Run, subset: str) -> Place:
    """Of a run of an earlier version: where its shards lie, its state does not say any closer."""
    found = place(run.spec.storage.prefix, NOTEBOOK, subset, "")
    return found.model_copy(update={"shards": f"{found.data}shards-"})


def _nested(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
