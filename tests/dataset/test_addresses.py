"""Images at addresses: fetched only where that is allowed, from nowhere but where it is allowed, and once."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from vlm_runner.core.retry import FETCH
from vlm_runner.dataset import addresses, open_dataset
from vlm_runner.dataset.addresses import Addresses
from vlm_runner.dataset.fingerprint import MISSING
from vlm_runner.dataset.images import NoImageError
from vlm_runner.errors import DataError, RowError
from vlm_runner.spec import DatasetSpec

from .world import png, row, write_jsonl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Site:
    """A web server that counts what it is asked."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                told = site.answers.get(self.path, [(404, {}, b"")])
                status, headers, body = told[0] if len(told) == 1 else told.pop(0)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def says(self, path: str, *answers: tuple[int, dict[str, str], bytes]) -> str:
        self.answers[path] = list(answers)
        return self.url + path


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def ok(body: bytes) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, body


def test_an_address_is_fetched_once(site: Site, tmp_path: Path) -> None:
    address = site.says("/0.png?size=1", ok(png(0)))

    bodies = [Addresses(tmp_path, private=True).fetch(address) for _ in range(3)]

    assert bodies == [png(0)] * 3
    assert site.asked == ["/0.png?size=1"]


def test_redirects_are_followed_so_far(site: Site, tmp_path: Path) -> None:
    site.says("/a", (302, {"Location": "/b"}, b""))
    site.says("/b", (301, {"Location": f"{site.url}/c"}, b""))
    site.says("/c", ok(png(1)))
    site.says("/loop", (302, {"Location": "/loop"}, b""))

    assert Addresses(tmp_path, private=True).fetch(f"{site.url}/a") == png(1)
    with pytest.raises(NoImageError, match="redirects more than 5 times"):
        Addresses(tmp_path, private=True).fetch(f"{site.url}/loop")


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("localhost", ["127.0.0.1"]),
        ("intern.example", ["10.1.2.3"]),
        ("metadata.example", ["169.254.169.254"]),
        ("six.example", ["::1"]),
        ("mapped.example", ["::ffff:127.0.0.1"]),
        ("nat64.example", ["64:ff9b::7f00:1"]),
        ("sixtofour.example", ["2002:7f00:1::"]),
        ("unique-local.example", ["fd00::1"]),
        ("link-local.example", ["fe80::1%eth0"]),
        ("shared.example", ["100.64.0.1"]),
        ("any.example", ["0.0.0.0"]),
        ("cast.example", ["224.0.0.1"]),
        ("two-faced.example", ["93.184.216.34", "192.168.0.1"]),
    ],
)
def test_no_address_but_a_public_one_is_reached(
    host: str, found: list[str], site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "create_connection", connect)
    fetcher = Addresses(tmp_path, private=False, resolve=lambda name, _: found if name == host else [])

    with pytest.raises(NoImageError, match="which is not a public address") as refused:
        fetcher.fetch(f"http://{host}/0.png")

    assert refused.value.code == "I108"
    assert site.asked == []


def test_a_redirect_into_the_own_network_is_not_followed(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name that is asked first is public; what it leads to is not."""
    site.says("/start", (302, {"Location": f"{site.url}/secret"}, b""))
    site.says("/secret", ok(png(0)))
    connect = socket.create_connection
    port = site.server.server_port
    monkeypatch.setattr(
        socket, "create_connection", lambda _to, timeout: connect(("127.0.0.1", port), timeout)
    )
    fetcher = Addresses(
        tmp_path,
        private=False,
        resolve=lambda name, _: ["93.184.216.34"] if name == "public.example" else ["127.0.0.1"],
    )

    with pytest.raises(NoImageError, match=r"127\.0\.0\.1 is 127\.0\.0\.1, which is not a public address"):
        fetcher.fetch("http://public.example/start")

    assert site.asked == ["/start"]


def test_the_address_that_was_checked_is_the_one_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that answers public first and private afterwards gains nothing."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    reached = []

    def connect(to: tuple[str, int], _timeout: float) -> None:
        reached.append(to)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    fetcher = Addresses(tmp_path, private=False, resolve=lambda *_: next(answers), sleep=lambda _: None)

    with pytest.raises(NoImageError, match="not a public address"):
        fetcher.fetch("http://rebinding.example/0.png")

    assert reached == [("93.184.216.34", 80)]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://x.example/a", "gopher://x.example"])
def test_other_schemes_are_not_followed(location: str, site: Site, tmp_path: Path) -> None:
    address = site.says("/a", (302, {"Location": location}, b""))

    with pytest.raises(NoImageError, match="which is not fetched"):
        Addresses(tmp_path, private=True).fetch(address)


def test_what_may_pass_is_retried_politely(site: Site, tmp_path: Path) -> None:
    paused: list[float] = []
    busy = (503, {"Retry-After": "7"}, b"")
    address = site.says("/0.png", busy, (500, {}, b""), ok(png(0)))

    body = Addresses(tmp_path, private=True, sleep=paused.append).fetch(address)

    assert body == png(0)
    assert (len(site.asked), len(paused)) == (3, 2)
    assert paused[0] >= 7


def test_what_does_not_pass_is_given_up(site: Site, tmp_path: Path) -> None:
    address, gone = site.says("/0.png", (503, {}, b"")), site.says("/1.png", (403, {}, b""))
    fetcher = Addresses(tmp_path, private=True, sleep=lambda _: None)

    with pytest.raises(NoImageError, match="HTTP 503"):
        fetcher.fetch(address)
    assert len(site.asked) == FETCH.attempts
    with pytest.raises(NoImageError, match="HTTP 403"):
        fetcher.fetch(gone)
    assert site.asked.count("/1.png") == 1


def test_a_broken_answer_is_no_image(site: Site, tmp_path: Path) -> None:
    address = site.says("/cut.png", (200, {"Content-Length": "999"}, png(0)))

    with pytest.raises(NoImageError, match=r"IncompleteRead|Timeout|timed out"):
        Addresses(tmp_path, private=True, sleep=lambda _: None).fetch(address)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.0 200 OK\r\n\r\nnot yet"], ids=["nothing", "a little"])
@pytest.mark.timeout(30)
def test_a_server_that_does_not_go_on_is_waited_for_no_longer_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(addresses, "SECONDS", 0.3)
    began, attempts = time.monotonic(), int(FETCH.attempts)

    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def serve() -> None:
            with contextlib.ExitStack() as held:
                for _ in range(attempts):
                    held.enter_context(server.accept()[0]).sendall(said)
                stop.wait(20)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(NoImageError, match=r"Timeout|timed out"):
            Addresses(tmp_path, private=True, sleep=lambda _: None).fetch(
                f"http://127.0.0.1:{server.getsockname()[1]}/0.png"
            )
        stop.set()
        thread.join(10)

    assert time.monotonic() - began < 10


def test_size_and_number_are_bounded(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "MOST_BYTES", 1000)
    monkeypatch.setattr(addresses, "MOST_ADDRESSES", 2)
    fetcher = Addresses(tmp_path, private=True)

    with pytest.raises(NoImageError, match="more than 1,000 bytes"):
        fetcher.fetch(site.says("/large.png", ok(bytes(2000))))
    with pytest.raises(DataError, match="3 addresses; 2 are fetched at most"):
        fetcher.digests(f"{site.url}/{number}" for number in range(3))


def test_no_secret_of_an_address_is_printed(site: Site, tmp_path: Path) -> None:
    address = site.url.replace("//", "//user:password@") + "/0.png?token=secret"

    with pytest.raises(NoImageError) as refused:
        Addresses(tmp_path, private=True).fetch(address)

    assert not {"secret", "password"} & set(str(refused.value).replace("=", " ").replace(":", " ").split())


def test_rows_name_addresses_and_the_run_is_pinned_to_what_they_hold(site: Site, tmp_path: Path) -> None:
    shown = [site.says(f"/{number}.png", ok(png(number))) for number in range(3)]
    rows = [row(number, image=address) for number, address in enumerate([*shown, f"{site.url}/gone.png"])]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    spec = DatasetSpec(source=str(source), fetch_images=True, private_addresses=True)

    opened = open_dataset(spec, cache_dir=tmp_path / "a")
    read = list(opened.train.scan())
    same = open_dataset(spec, cache_dir=tmp_path / "b").fingerprint
    site.says("/1.png", ok(png(99)))
    other = open_dataset(spec, cache_dir=tmp_path / "c").fingerprint

    assert [each.image for each in read[:3] if not isinstance(each, RowError)] == [png(i) for i in range(3)]
    assert isinstance(read[3], RowError)
    assert read[3].code == "I108"
    assert opened.fingerprint == same
    assert opened.fingerprint != other


def test_nothing_is_fetched_unasked(site: Site, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [row(0, image=site.says("/0.png", ok(png(0))))])

    (read,) = open_dataset(DatasetSpec(source=str(source)), cache_dir=tmp_path / "a").train.scan()

    assert isinstance(read, RowError)
    assert read.code == "I107"
    assert site.asked == []


def test_digests_are_of_the_contents_in_order(site: Site, tmp_path: Path) -> None:
    there = site.says("/0.png", ok(png(0)))

    digests = Addresses(tmp_path, private=True).digests([f"{site.url}/none", there, there])

    assert digests == [MISSING, hashlib.sha256(png(0)).hexdigest()]
