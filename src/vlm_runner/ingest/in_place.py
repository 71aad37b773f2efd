"""
Which images stay where they lie in S3: those that the model takes as they are, whatever their format.

Their first and last bytes decide. Where these do not, such as for a GIF, all of the image is read.
"""

from __future__ import annotations

import hashlib
import posixpath
from typing import TYPE_CHECKING

from vlm_runner.core.names import IMAGE_URI
from vlm_runner.dataset.images import NoImageError
from vlm_runner.errors import ObjectChanged
from vlm_runner.ingest.images import EXTENSIONS, Examined, Handling, examine, may_pass, prepare
from vlm_runner.ingest.inspect import ImageDefect, inspect_ends
from vlm_runner.ingest.shards import SHARD_ROWS
from vlm_runner.ingest.stored import StoredImage, read_stored

if TYPE_CHECKING:
    from vlm_runner.aws.ports import Objects
    from vlm_runner.core.events import Place
    from vlm_runner.dataset.in_place import InPlace
    from vlm_runner.ingest.images import Convert, ImageLimits, Prepared
    from vlm_runner.ingest.inspect import ImageFacts


def facts_by_ends(image: InPlace, limits: ImageLimits, *, fit: bool) -> ImageFacts | None:
    """Of one that can stay; None: only all of it tells, or it cannot."""
    facts = inspect_ends(image.head, image.tail, image.size)
    if facts is None or not _can_be_named(image):
        return None
    return facts if may_pass(facts, image.size, limits, keep_format=True, fit=fit) else None


def examine_in_place(image: InPlace, limits: ImageLimits, *, fit: bool, convert: Convert) -> Examined:
    """
    As `examine`: whether it stays, or what is uploaded in its place.

    Raises:
        ImageDefect: it cannot be used.
    """
    if (facts := facts_by_ends(image, limits, fit=fit)) is not None:
        return Examined(facts, Handling.IN_PLACE)
    examined = examine(_whole(image), limits, keep_format=True, fit=fit, convert=convert)
    if examined.way is Handling.PASSED_THROUGH and _can_be_named(image):
        return Examined(examined.facts, Handling.IN_PLACE)
    return examined


def prepare_in_place(
    image: InPlace, limits: ImageLimits, *, fit: bool, verified: bool, convert: Convert
) -> Prepared | StoredImage:
    """
    As `prepare`, of one that cannot stay; else where it lies.

    Raises:
        ImageDefect: it cannot be used.
    """
    if (facts := facts_by_ends(image, limits, fit=fit)) is not None:
        return _left(image, facts.format)
    made = prepare(_whole(image), limits, keep_format=True, fit=fit, verified=verified, convert=convert)
    if made.way is Handling.PASSED_THROUGH and _can_be_named(image):
        return _left(image, made.format)
    return made


def _left(image: InPlace, form: str) -> StoredImage:
    return StoredImage(
        format=form, extension=EXTENSIONS[form], bytes=image.size, uri=image.uri, etag=image.etag
    )


def _can_be_named(image: InPlace) -> bool:
    return IMAGE_URI.fullmatch(image.uri) is not None


def _whole(image: InPlace) -> bytes:
    try:
        return image.whole()
    except NoImageError as error:
        raise ImageDefect(error.code, str(error)) from error


async def refuse_changed_in_place(objects: Objects, place: Place, rows: int) -> str | None:
    """
    See that the images of the first `rows` rows that stay elsewhere in the bucket are what they were.

    Returns a SHA-256 (hex) over them and their ETags; None: all images lie in the place.

    Raises:
        ObjectChanged: one was replaced or deleted.
    """
    held = await _held(objects, place, rows)
    if not held:
        return None
    start = f"s3://{objects.bucket}/"
    now = await _etags(objects, sorted({uri.removeprefix(start) for uri, _ in held.values()}))
    for (row, _), (uri, etag) in held.items():
        found = now.get(uri.removeprefix(start))
        if found != etag:
            fate = "deleted" if found is None else "replaced"
            raise ObjectChanged(
                f"{uri}, the image of row {row}, was {fate} since the run looked at it.",
                hint="Put it back as it was and resume, or cancel the run and start it again with another "
                "--run-id: that one takes it as it is then.",
            )
    return hashlib.sha256(repr(sorted(held.items())).encode()).hexdigest()


async def _held(objects: Objects, place: Place, rows: int) -> dict[tuple[int, int], tuple[str, str]]:
    """Address and ETag of each image that stays, by its row and its number there."""
    found: dict[tuple[int, int], tuple[str, str]] = {}
    for start in range(0, rows, SHARD_ROWS):
        for number, row in (await read_stored(objects, place, start)).items():
            for index, image in enumerate(row.images if number < rows else ()):
                if image.uri is not None:
                    found[number, index] = (image.uri, image.etag or "")
    return found


async def _etags(objects: Objects, keys: list[str]) -> dict[str, str]:
    """Of those of `keys`, sorted, that there are: one listing of what begins as all of them do."""
    wanted, found = set(keys), dict[str, str]()
    async for item in objects.list(posixpath.commonprefix(keys)):
        if item.key in wanted:
            found[item.key] = item.etag
        if item.key >= keys[-1]:
            break
    return found
