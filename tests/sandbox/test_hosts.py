"""The sandbox answers to loopback names, addresses, and what it was told: not to a stranger's name for it."""

from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from vlm_runner.sandbox import Sandbox, SandboxOptions
from vlm_runner.sandbox.hosts import is_allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:4599", True),
        ("[::1]:4599", True),
        ("localhost", True),
        ("LOCALHOST.:4599", True),
        ("my-bucket.localhost:4599", True),
        ("10.0.0.7:4599", True),
        ("sandbox:4599", True),
        ("my-bucket.sandbox:4599", True),
        ("evil.example:4599", False),
        ("localhost.evil.example", False),
        ("notlocalhost", False),
        ("notsandbox", False),
        ("127.0.0.1.evil.example", False),
        ("user@127.0.0.1.evil.example", False),
        ("[::1", False),
        ("", False),
        (None, False),
    ],
)
def test_which_names_are_answered(host: str | None, allowed: bool) -> None:
    assert is_allowed(host, ["Sandbox"]) is allowed


def test_a_page_under_a_strangers_name_reads_and_changes_nothing() -> None:
    with Sandbox(SandboxOptions(hosts=("told",))) as sandbox:
        answers = {}
        for host in ("evil.example", "told", "localhost"):
            connection = HTTPConnection(urlsplit(sandbox.url).netloc)
            connection.request("GET", "/_sandbox/ledger", headers={"Host": host})
            answers[host] = connection.getresponse().status
            connection.close()

    assert answers == {"evil.example": 403, "told": 200, "localhost": 200}
