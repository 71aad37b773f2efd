"""Images that stay where they lie in S3: known by their ETags and their first and last bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD: Final = 65_536
"""First bytes: the header of an image, with the profile and the preview that a camera puts before it."""
TAIL: Final = 12
"""Last bytes: a PNG's final chunk, the longest end that a format has."""


@dataclass(frozen=True, slots=True)
class InPlace:
    """An object in S3 that records name where it is, below one of `dataset.images_in_place`."""

    uri: str
    etag: str
    size: int
    """In bytes."""
    head: bytes
    """Its first HEAD bytes, or all of it."""
    tail: bytes
    """Its last TAIL bytes."""
    whole: Callable[[], bytes] = field(compare=False, repr=False)
    """All of it. Raises NoImageError: it is gone, or may not be read."""

    @property
    def content(self) -> bytes:
        """The same of equal objects (S3 API reference, Object: an ETag reflects the content)."""
        return f"{self.etag} {self.size}".encode()

    @property
    def source(self) -> bytes:
        """Of what it holds, and where."""
        return f"{self.uri} {self.etag} {self.size}".encode()


Picture: TypeAlias = bytes | InPlace
"""An image of a row: its bytes as the dataset holds them, or that it stays in S3."""


def content_of(picture: Picture) -> bytes:
    """What tells it from other images."""
    return picture.content if isinstance(picture, InPlace) else picture


def size_of(picture: Picture) -> int:
    """In bytes."""
    return picture.size if isinstance(picture, InPlace) else len(picture)


def bytes_of(picture: Picture) -> bytes:
    """
    All of it, from S3 where it lies there.

    Raises:
        NoImageError: it is gone, or may not be read.
    """
    return picture.whole() if isinstance(picture, InPlace) else picture
