from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vlm_runner.dataset.split import divide, sample

rows = st.lists(st.lists(st.sampled_from("abcdefghijklmnop"), max_size=2), min_size=1, max_size=30)
fractions = st.floats(0.01, 0.99)


@given(rows, fractions)
def test_nothing_is_on_both_sides_and_nothing_is_lost(keys: list[list[str]], fraction: float) -> None:
    parts = divide(keys, fraction)

    if parts is None:
        return
    train, held = parts
    assert sorted(train + held) == list(range(len(keys)))
    assert train == sorted(train)
    assert held == sorted(held)
    assert train
    assert held
    assert not {key for row in train for key in keys[row]} & {key for row in held for key in keys[row]}


@given(st.integers(2, 200), fractions)
def test_different_rows_are_divided_as_asked(count: int, fraction: float) -> None:
    parts = divide([[str(row)] for row in range(count)], fraction)

    assert parts is not None
    assert len(parts[1]) == min(max(1, round(count * fraction)), count - 1)


def test_the_same_rows_are_held_back_every_time() -> None:
    keys = [[str(row)] for row in range(20)]

    assert divide(keys, 0.2) == divide(keys, 0.2)
    assert divide(keys, 0.2) == ([0, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 16, 17, 18, 19], [1, 7, 14, 15])
    assert divide(keys, 0.2, seed="other") != divide(keys, 0.2)


def test_the_choice_does_not_hang_on_the_order() -> None:
    names = [str(row) for row in range(20)]

    def held(order: list[str]) -> set[str]:
        parts = divide([[name] for name in order], 0.3)
        assert parts is not None
        return {order[row] for row in parts[1]}

    assert held(names) == held(names[::-1])


def test_a_sample_is_the_same_on_every_machine_and_version() -> None:
    assert sample(20, 5, "7") == [5, 12, 15, 16, 17]
    assert sample(20, 5, "8") == [1, 8, 13, 16, 17]
    assert sample(20, 99, "7") == list(range(20))


def test_rows_that_all_hang_together_cannot_be_divided() -> None:
    assert divide([["a"], ["a", "b"], ["b"]], 0.5) is None
    assert divide([["a"]], 0.5) is None
