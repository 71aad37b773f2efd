"""STAGING begins: keys in S3 that hold nothing but this run's content, claimed by compare-and-swap."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING

from anyio import to_thread

from vlm_runner import preflight
from vlm_runner.core import places
from vlm_runner.core.decide import ClaimPlaces
from vlm_runner.core.events import Place, PlacesClaimed
from vlm_runner.core.places import ClosedPlace, Content, KeyClaim, Match
from vlm_runner.errors import Conflict, NotFound, ObjectChanged
from vlm_runner.ingest import stored
from vlm_runner.ingest.images import limits_of
from vlm_runner.prompts.templates import compile_prompt
from vlm_runner.steps.dataset_of_run import opened_dataset
from vlm_runner.steps.registry import performs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vlm_runner.aws.ports import Objects
    from vlm_runner.core.run import Run
    from vlm_runner.dataset.rows import Opened, Subset
    from vlm_runner.models import ModelProfile
    from vlm_runner.preflight import Problem
    from vlm_runner.steps.ports import Ports


@performs(ClaimPlaces)
async def _claim_places(command: ClaimPlaces, ports: Ports) -> PlacesClaimed:
    return await claim_places(command.run, ports)


async def claim_places(run: Run, ports: Ports) -> PlacesClaimed:
    """
    Claim where the run's images and records go; doing it twice finds the claims of the first time.

    Raises:
        DataError: the data is not what it was when the run was created.
        ConfigurationError: other content occupies the keys under `storage.prefix`.
    """
    await ports.aws.account.ensure_bucket(run.bucket, account=run.account, region=run.region)
    found = await settle(run, await opened_dataset(run, ports), ports, claim=True)
    if isinstance(found, preflight.Problem):
        raise found.error
    return found


async def settle(run: Run, opened: Opened, ports: Ports, *, claim: bool) -> PlacesClaimed | Problem:
    """
    Where the run's images and records go: claimed with `claim`, else only looked up.

    Raises:
        NotFound: there is no bucket.
    """
    search = _Search(run, ports, claim=claim)
    train = await search.find(opened.train, places.NOTEBOOK)
    if isinstance(train, preflight.Problem):
        return train
    validation = None
    if opened.validation is not None:
        # Beside the training rows if it can be, so that a person finds one run in one folder.
        found = await search.find(opened.validation, _folder(train, opened.train.name, run))
        if isinstance(found, preflight.Problem):
            return found
        validation = found
    return PlacesClaimed(train=train, validation=validation)


async def hold_places(run: Run, opened: Opened, ports: Ports) -> None:
    """
    See before anything is uploaded that the claims are still there; one that is gone is claimed anew.

    A deletion asks which runs of its own store use a place; those of another store it does not see.

    Raises:
        Conflict: the place is being deleted; once it is, the run goes on there.
        ObjectChanged: it holds other content by now.
    """
    if run.places is None:
        return  # of an earlier version, which claimed nothing
    objects, profile = ports.bucket_of(run), ports.catalogue.find(run.spec.model.base)
    for subset in (opened.train, opened.validation):
        if subset is not None:
            content = content_of(run, profile, subset)
            await _hold(objects, place_of(run, subset.name, ports), content, run.run_id)


async def _hold(objects: Objects, place: Place, content: Content, run_id: str) -> None:
    key = places.claim_key(place)
    while (found := await objects.get(key)) is None:
        body = content.claim(run_id).model_dump_json().encode()
        if await objects.put_if(key, body, replacing=None) is not None:
            return
    uri = f"s3://{objects.bucket}/{key}"
    if (closed := ClosedPlace.parse(found.body)) is not None:
        raise Conflict(
            f"Run {closed.deleting} is being deleted, and shares {uri}. Nothing was uploaded.",
            hint=f"Finish that (vlm-runner delete {closed.deleting} --yes); then: vlm-runner resume {run_id}",
        )
    if places.match(KeyClaim.parse(found.body), content) not in {Match.RECORDS, Match.IMAGES}:
        raise ObjectChanged(
            f"{uri} was claimed by run {run_id}, and says now that the place holds other content.",
            hint="Another runner took it after it was deleted. Start again with another --run-id.",
        )


class _Search:
    """Looks for a place, split by split."""

    def __init__(self, run: Run, ports: Ports, *, claim: bool) -> None:
        self._run, self._claim = run, claim
        self._objects = ports.bucket_of(run)
        self._profile = ports.catalogue.find(run.spec.model.base)

    async def find(self, subset: Subset, first: str) -> Place | Problem:
        """The first place that is free, or holds the same; `first` is the folder to begin with."""
        content = content_of(self._run, self._profile, subset)
        problems: list[Problem] = []
        async for folder in self._folders(subset, content, first):
            place = places.place(self._run.spec.storage.prefix, folder, subset.name, content.fingerprint)
            found = await self._take(place, subset, content)
            if isinstance(found, Place):
                return found
            problems.append(_problem(self._objects, place, found, content.fingerprint))
        return problems[0]

    async def _folders(self, subset: Subset, content: Content, first: str) -> AsyncIterator[str]:
        yield first
        # A prefix is the user's choice of keys: nothing is put elsewhere without being asked.
        if self._run.spec.storage.prefix:
            return
        # Known by its first row, so that more rows of the same data find it again; and by all of its rows,
        # which no other content shares.
        begins = await to_thread.run_sync(stored.first_digest, subset)
        for digest in (places.digest(content.pixels, subset.name, begins), content.images):
            yield places.content_folder(digest)

    async def _take(self, place: Place, subset: Subset, content: Content) -> Place | KeyClaim:
        """The place, if it is free or holds the same; else the claim that it is under."""
        key = places.claim_key(place)
        while True:
            found = await self._objects.get(key)
            if found is None:
                if (taken := await self._take_unclaimed(place, content)) is not None:
                    return taken
                continue  # lost to another run, or stored by a try whose answer was lost: read it
            claim = KeyClaim.parse(found.body)
            match places.match(claim, content):
                case Match.RECORDS:
                    return place
                case Match.IMAGES if not self._fixed:
                    return places.beside(place, content.fingerprint)
                case Match.PERHAPS if not self._fixed:
                    digests = await stored.held_digests(self._objects, place, claim.rows)
                    if digests is None or not await to_thread.run_sync(stored.begins_with, subset, digests):
                        return claim
                    if not self._claim or await self._put(key, claim.holding(content), replacing=found.etag):
                        return places.beside(place, content.fingerprint)
                case _:
                    return claim

    async def _take_unclaimed(self, place: Place, content: Content) -> Place | KeyClaim | None:
        """As `_take`; None: there is a claim by now."""
        key = places.claim_key(place)
        if not await _is_free(self._objects, place):
            return places.NOBODYS if await self._objects.get(key) is None else None
        claim = content.claim(self._run.run_id)
        return place if not self._claim or await self._put(key, claim, replacing=None) else None

    @property
    def _fixed(self) -> bool:
        return bool(self._run.spec.storage.prefix)

    async def _put(self, key: str, claim: KeyClaim, *, replacing: str | None) -> bool:
        body = claim.model_dump_json().encode()
        return await self._objects.put_if(key, body, replacing=replacing) is not None


async def _is_free(objects: Objects, place: Place) -> bool:
    """
    Whether nothing lies at the keys of a place without a claim: somebody's notebook may have written there.

    Markers of the same records are an earlier version's, which claimed nothing; so are the images.
    """
    theirs = False
    async for item in objects.list(place.data.removesuffix("/")):
        if item.key.startswith(place.shards):
            return True
        theirs = theirs or item.key == place.records or item.key.startswith(place.data)
    if theirs:
        return False
    async for _ in objects.list(place.images):
        return False
    return True


def _folder(place: Place, subset: str, run: Run) -> str:
    """The folder that a place lies in."""
    start = f"{run.spec.storage.prefix}images/"
    return place.images.removeprefix(start).removesuffix(f"{subset}/")


def content_of(run: Run, profile: ModelProfile, subset: Subset) -> Content:
    pixels = _pixels(run, profile)
    return Content(
        subset=subset.name,
        fingerprint=records_fingerprint(run, profile, subset.name),
        pixels=pixels,
        images=places.digest(pixels, subset.name, subset.fingerprint),
        rows=subset.num_rows,
    )


def _limits(profile: ModelProfile) -> list[object]:
    limits = limits_of(profile)
    # The side as it was when each had one limit, so that images of earlier runs are found.
    side = limits.longest_side(fit=True)
    return [limits.max_bytes, limits.min_side, side, list(limits.formats), limits.per_record]


def _pixels(run: Run, profile: ModelProfile) -> str:
    """SHA-256 (hex) over all that decides what becomes of an image."""
    parts = {"images": run.spec.images.model_dump(mode="json"), "limits": _limits(profile)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def records_fingerprint(run: Run, profile: ModelProfile, subset: str) -> str:
    """SHA-256 (hex) over all that decides what the staged images and records of `subset` contain."""
    prompt = compile_prompt(run.spec.prompt, run.spec.dataset.columns)
    parts = {
        "dataset": run.dataset.fingerprint,
        "subset": subset,
        "prompt": prompt.fingerprint,
        "images": run.spec.images.model_dump(mode="json"),
        "limits": _limits(profile),
        "image_first": profile.image_first,
        "owner": run.account,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def place_of(run: Run, subset: str, ports: Ports) -> Place:
    """Where a split of a run lies. One of an earlier version claimed nothing, and has the notebook's keys."""
    claimed = run.places
    if claimed is None:
        fingerprint = records_fingerprint(run, ports.catalogue.find(run.spec.model.base), subset)
        return places.place(run.spec.storage.prefix, places.NOTEBOOK, subset, fingerprint)
    if subset == run.spec.dataset.train_name or claimed.validation is None:
        return claimed.train
    return claimed.validation


def _problem(objects: Objects, place: Place, claim: KeyClaim, fingerprint: str) -> Problem:
    uri = f"s3://{objects.bucket}/{places.claim_key(place)}"
    return preflight.key_problem(uri, claim.run_id, fingerprint)


async def refuse_occupied(run: Run, ports: Ports) -> None:
    """
    Find out before a run exists what claiming its keys would find out after.

    Raises:
        ConfigurationError: the keys under `storage.prefix` hold other content, or nobody's.
    """
    prefix = run.spec.storage.prefix
    if not prefix:
        return
    objects, profile = ports.bucket_of(run), ports.catalogue.find(run.spec.model.base)
    names = [run.spec.dataset.train_name]
    if run.dataset.validation_rows is not None:
        names.append(run.spec.dataset.validation_name)
    with contextlib.suppress(NotFound):
        for subset in names:
            fingerprint = records_fingerprint(run, profile, subset)
            place = places.place(prefix, places.NOTEBOOK, subset, fingerprint)
            found = await objects.get(places.claim_key(place))
            if found is not None:
                claim = KeyClaim.parse(found.body)
            elif await _is_free(objects, place):
                continue
            else:
                claim = places.NOBODYS
            if claim.fingerprint != fingerprint:
                raise _problem(objects, place, claim, fingerprint).error
