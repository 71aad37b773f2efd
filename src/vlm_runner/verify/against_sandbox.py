"""Checking a sandbox, which is reached by its URL, against a recording."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from anyio import to_thread

from vlm_runner.aws.session import AwsSession
from vlm_runner.core.run import Phase, known
from vlm_runner.runner import Runner
from vlm_runner.settings import Settings, UploadSettings
from vlm_runner.spec import RunSpec
from vlm_runner.verify.kit import write_rows
from vlm_runner.verify.levels import run_spec
from vlm_runner.verify.replay import Hearing, Replay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlm_runner.models import Catalogue
    from vlm_runner.verify.compare import Difference
    from vlm_runner.verify.recording import Exchange, Header


class AdminClock:
    """The clock of a sandbox, over its own HTTP endpoint."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/_sandbox/clock"

    async def advance(self, seconds: float) -> None:
        body = json.dumps({"advance_seconds": seconds}).encode()
        headers = {"content-type": "application/json"}
        request = Request(self._url, body, headers)  # noqa: S310 - the sandbox of this command

        def send() -> None:
            with urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
                answer.read()

        await to_thread.run_sync(send)


def model_units(exchanges: Sequence[Exchange]) -> int:
    """The quota that the sandbox needs, to do what AWS did."""
    told = [
        int(each.answer["Quota"]["Value"])
        for each in exchanges
        if each.operation == "GetServiceQuota" and each.accepted
    ]
    return max(told, default=0)


async def check(
    header: Header, exchanges: Sequence[Exchange], url: str, catalogue: Catalogue
) -> list[Difference]:
    """
    Every difference between the recording and the sandbox at `url`, which must be new and empty.

    Raises:
        AwsRefused: the recording has a request that cannot be sent again.
    """
    hearing = Hearing()
    async with AwsSession(region=header.region, endpoint_url=url, heard=hearing.hear) as session:
        quiet = AwsSession(region=header.region, endpoint_url=url, engine="aioboto3")

        async def training_data() -> str:
            return await _staged(header, quiet, catalogue)

        async with quiet:
            return await Replay(session, hearing, AdminClock(url), training_data).run(header, exchanges)


async def _staged(header: Header, session: AwsSession, catalogue: Catalogue) -> str:
    """The rows that levels 2 to 4 train on, in the sandbox, as a run stages them."""
    profile = catalogue.find(header.given["model"])
    table = {
        "dataset": {"source": "the sample"},
        "model": {"base": profile.base_id},
        "training": {"role_arn": header.given["role_arn"]},
        "storage": {"bucket": header.given["bucket"]},
        "aws": {"region": header.region},
    }
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        await to_thread.run_sync(write_rows, home / "data", profile.records.minimum)
        spec = run_spec(
            RunSpec.from_table(table), profile, 2, data=home / "data", folder="replay/", max_cost=1e6
        )
        settings = Settings(
            checkpoint_uri=str(home / "runs"), region=header.region, upload=UploadSettings(engine="aioboto3")
        )
        async with Runner.open(settings, connect=lambda _: session) as runner:
            handle = await runner.start(spec, run_id="replay", until=Phase.RECORDING)
            return known((await handle.result()).records).train_uri
