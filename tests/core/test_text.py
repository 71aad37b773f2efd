"""JSON that others may have written is an object, or texts, or nothing."""

from __future__ import annotations

import pytest

from vlm_runner.core.text import LONGEST_REASON, json_object, json_texts


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"1", b'"x"', b"{", b"<html>", b"\xff", b"[" * 100_000]
)
def test_what_is_no_object_is_none(body: bytes) -> None:
    assert json_object(body) is None


def test_an_object_is_itself() -> None:
    assert json_object('{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"<html>", b"[1, null, {}, []]", b"[" * 100_000])
def test_what_holds_no_texts_is_an_empty_list(body: bytes) -> None:
    assert json_texts(body) == []


def test_texts_are_cut_to_what_a_checkpoint_holds() -> None:
    (text,) = json_texts('["' + "x" * 200_000 + '"]')

    assert len(text) == LONGEST_REASON
