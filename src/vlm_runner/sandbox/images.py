"""Properties of an image, found by decoding it: file names and headers can be wrong."""

import hashlib
import io
import warnings
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

_NAMES = {"PNG": "png", "JPEG": "jpeg", "GIF": "gif", "WEBP": "webp"}
THUMBNAIL = 16
REMEMBERED = 4096
"""Images: those of several runs' datasets, of less than 1 KB each. Decoding one takes some 10 ms."""

_known: dict[bytes, "ImageFacts"] = {}


class NotAnImage(Exception):
    """The bytes do not decode as an image."""


@dataclass(frozen=True)
class ImageFacts:
    format: str
    width: int
    height: int
    size: int
    digest: bytes
    thumbnail: bytes
    brightness: float


def inspect_image(data: bytes) -> ImageFacts:
    """
    Decode `data` completely, so that truncation is detected, and keep a small grey thumbnail.

    Raises:
        NotAnImage: with the message of Pillow.
    """
    digest = hashlib.sha256(data).digest()
    if (known := _known.get(digest)) is not None:
        return known
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limits on width and height cover decompression bombs
            with Image.open(io.BytesIO(data)) as image:
                name, (width, height) = image.format or "", image.size
                if max(width, height) > 3 * THUMBNAIL:
                    image.draft("L", (THUMBNAIL, THUMBNAIL))
                grey = image.convert("L").resize((THUMBNAIL, THUMBNAIL)).tobytes()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise NotAnImage(str(error)) from error
    mean = sum(grey) / len(grey) / 255
    facts = ImageFacts(_NAMES.get(name, name.lower()), width, height, len(data), digest, grey, mean)
    if len(_known) < REMEMBERED:
        _known[digest] = facts
    return facts
