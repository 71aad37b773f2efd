"""Everything that may go wrong at every call of every scenario, and thousands of pairs: `make crash`."""

from __future__ import annotations

import pytest

from .enumeration import Job, in_order

pytestmark = [pytest.mark.crash, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("job", in_order(), ids=str)
def test_survives(job: Job) -> None:
    runs, wrong = job.wrong()

    assert wrong == []
    # A run without an endpoint has none to be deleted.
    assert runs > 0 or job.proof.startswith(("incidents", "objects"))
