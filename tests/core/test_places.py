"""Which objects a run uses, and with whom it shares them; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.histories import CLAIMED, STAGED, after, begun
from vlm_runner.core import places
from vlm_runner.core.events import Place, PlacesClaimed, ReportWritten, RunFailed
from vlm_runner.core.places import Content, KeyClaim, Match, match, objects_of

if TYPE_CHECKING:
    from vlm_runner.core.run import Run

FIRST, SECOND = "a" * 64, "b" * 64
PLACE = places.place("", places.NOTEBOOK, "train", FIRST)
CONTENT = Content("train", fingerprint=FIRST, pixels="p", images="i", rows=8)


def claiming(place: Place) -> Run:
    return after(begun(), PlacesClaimed(train=place))


def test_a_run_uses_what_it_has_claimed_and_its_own_folder() -> None:
    uses = objects_of(after(begun(), CLAIMED, STAGED))

    assert uses.own == "runs/cats/"
    assert uses.places == (CLAIMED.train,)
    assert uses.settled


def test_another_prompt_shares_images_and_not_records() -> None:
    beside = places.beside(places.place("", places.NOTEBOOK, "train", SECOND), SECOND)
    uses = objects_of(claiming(PLACE))

    assert (uses.shares_images(beside), uses.shares_records(beside)) == (True, False)
    assert beside.records not in (PLACE.records, places.claim_key(PLACE))
    assert beside.records.startswith(PLACE.data)


def test_other_images_are_shared_with_nobody() -> None:
    elsewhere = places.place("", places.content_folder(SECOND), "train", SECOND)
    uses = objects_of(claiming(PLACE))

    assert (uses.shares_images(elsewhere), uses.shares_records(elsewhere)) == (False, False)


def test_a_run_that_has_not_claimed_yet_may_come_to_share_anything() -> None:
    uses = objects_of(begun())

    assert (uses.settled, uses.shares_images(PLACE), uses.shares_records(PLACE)) == (False, True, True)


def test_a_run_that_failed_before_it_claimed_uses_its_own_folder_only() -> None:
    over = after(begun(), RunFailed(error="DataError", reason="changed"), ReportWritten())

    assert objects_of(over).places == ()
    assert objects_of(over).settled


def test_all_that_is_put_lies_where_the_roles_of_earlier_versions_may_read() -> None:
    for folder in (places.NOTEBOOK, places.content_folder(SECOND)):
        place = places.beside(places.place("team/", folder, "train", FIRST), FIRST)

        assert place.images.startswith("team/images/")
        assert {place.data[:10], place.shards[:10], place.records[:10]} == {"team/data/"}


def test_what_a_place_holds_says_who_may_share_it() -> None:
    claim = CONTENT.claim("cats")
    another = Content("train", fingerprint=SECOND, pixels="p", images="i", rows=8)
    more = Content("train", fingerprint=SECOND, pixels="p", images="j", rows=9)
    smaller = Content("train", fingerprint=SECOND, pixels="q", images="k", rows=8)

    assert match(claim, CONTENT) is Match.RECORDS
    assert match(claim, another) is Match.IMAGES
    assert match(claim, more) is Match.PERHAPS
    assert match(claim, smaller) is Match.OTHER
    assert match(claim.holding(more), more) is Match.IMAGES
    assert claim.holding(more).rows == 9


def test_what_is_no_claim_is_of_other_content() -> None:
    for body in (b"", b"[]", b'{"fingerprint": 3}', b'{"holds": [{}]}', b"\xff"):
        assert match(KeyClaim.parse(body), CONTENT) is Match.OTHER
