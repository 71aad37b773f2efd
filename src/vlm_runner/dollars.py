"""US dollars as a person reads them: the one place for cents, bounds, and the word "about"."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import SupportsFloat

UNKNOWN: Final = "unknown"
MONTH_HOURS: Final = 24 * 30
"""Hours by which a price an hour is told by the month."""

_CENT: Final = Decimal("0.01")


def dollars(amount: SupportsFloat | None) -> str:
    """To the nearest cent, as a bill has it; "unknown" for None."""
    return UNKNOWN if amount is None else _rounded(amount, ROUND_HALF_UP)


def bound(amount: SupportsFloat | None) -> str:
    """Rounded up to the cent: it promises no less than it may cost."""
    return UNKNOWN if amount is None else _rounded(amount, ROUND_CEILING)


def about(text: str, *, estimated: bool) -> str:
    """
    `text`, an amount, with "about" where it is no more than that.

    It is where it rests on an estimate (tokens that Bedrock bills and does not report, hours by our clock),
    or on a price that only one source tells, which is not AWS itself.
    """
    return f"about {text}" if estimated and text != UNKNOWN else text


def spent(known: float, *, complete: bool, estimated: bool) -> str:
    """A sum of which only `known` has a price, unless it is `complete`."""
    if complete:
        return about(dollars(known), estimated=estimated)
    if known < float(_CENT):
        return UNKNOWN
    return f"{about(dollars(known), estimated=estimated)} and what has no known price"


def spent_and_left(known: float, per_month: float | None, *, complete: bool, estimated: bool) -> str:
    """A run's cost, and by the month what it leaves, if it leaves anything; None: a price is not known."""
    month = "" if per_month == 0 else f"; what it leaves costs {dollars(per_month)} a month"
    return spent(known, complete=complete, estimated=estimated) + month


def cell(known: float | None, *, complete: bool, estimated: bool) -> str:
    """The same in a table, where "+ ?" stands for what has no known price; empty for None."""
    if known is None:
        return ""
    if complete or known < float(_CENT):
        return spent(known, complete=complete, estimated=estimated)
    return f"{about(dollars(known), estimated=estimated)} + ?"


def _rounded(amount: SupportsFloat, how: str) -> str:
    exact = amount if isinstance(amount, Decimal) else Decimal(str(float(amount)))
    try:
        return f"${exact.quantize(_CENT, how):,}"
    except InvalidOperation:
        raise ValueError(f"{amount} is not an amount of money") from None
