"""Images that are broken on purpose, and decoders that break of them."""

import errno
import os
import random
import signal
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlm_runner.errors import OutOfResources, VlmRunnerError
from vlm_runner.ingest.converters import KEEP_SHARED, Converters
from vlm_runner.ingest.images import prepare
from vlm_runner.ingest.inspect import ImageDefect

from .pictures import LIMITS, SOURCES, shown


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int, depth: int = 8, colour: int = 2, zeros: int = 1_000_000) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(bytes(zeros))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def crafted() -> Iterator[bytes]:
    for width, height in ((50_000, 50_000), (2**31 - 1, 1), (9000, 9900), (1, 89_000_000), (30_000, 2_000)):
        for depth, colour in ((8, 2), (1, 0), (16, 6), (8, 3)):
            yield bomb(width, height, depth, colour)
    for size in (65_535, 30_000):
        yield b"GIF89a" + struct.pack("<HHBBB", size, size, 0xF7, 0, 0) + bytes(768) + b";"
        yield (
            b"GIF89a"
            + struct.pack("<HHBBB", 9, 9, 0, 0, 0)
            + b","
            + struct.pack("<HHHHB", 0, 0, size, size, 0)
        )
        yield (
            b"\xff\xd8\xff\xc0\x00\x11\x08"
            + struct.pack(">HH", size, size)
            + b"\x03"
            + bytes(20)
            + b"\xff\xd9"
        )
    yield b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"a\0" + b"b" * 9) * 20_000
    yield b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 2**31 - 1, b"IHDR")
    yield (
        SOURCES["png-RGB"][:33]
        + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(90_000_000)))
        + SOURCES["png-RGB"][33:]
    )
    yield (
        SOURCES["png-RGB"][:33]
        + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(90_000_000)))
        + SOURCES["png-RGB"][33:]
    )
    for kind in (b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ALPH"):
        data = b"WEBP" + kind + struct.pack("<I", 40) + b"\xff" * 40
        yield b"RIFF" + struct.pack("<I", len(data)) + data
    yield b"MZ" + bytes(500)
    yield b"%PDF-1.7 " + bytes(500)
    yield b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    yield b"8BPS" + bytes(500)
    yield b"%!PS-Adobe\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run"


def mutated(count: int) -> Iterator[bytes]:
    """Real images with a few bytes of another mind."""
    rng = random.Random(11)
    bodies = list(SOURCES.values())
    for _ in range(count):
        body = bytearray(rng.choice(bodies))
        for _ in range(rng.randrange(1, 12)):
            at = rng.randrange(len(body))
            match rng.randrange(4):
                case 0:
                    body[at] = rng.randrange(256)
                case 1:
                    del body[at : at + rng.randrange(1, 40)]
                case 2:
                    body[at:at] = rng.randbytes(rng.randrange(1, 40))
                case _:
                    body[at : at + 4] = b"\xff\xff\xff\xff"
            body = body or bytearray(b"x")
        yield bytes(body)


@pytest.fixture(scope="module")
def converters() -> Iterator[Converters]:
    with Converters() as running:
        yield running


def test_survives_a_thousand_hostile_images(converters: Converters) -> None:
    """
    Each is taken, or refused with reason and remedy, within seconds and without bloating us.
    """
    hostile = [*crafted(), *mutated(1000)]
    refused = taken = 0

    before = _resident(os.getpid())
    for body in hostile:
        began = time.monotonic()
        try:
            prepared = prepare(body, LIMITS, keep_format=False, fit=False, convert=converters)
        except ImageDefect as error:
            refused += bool(str(error) and error.hint)
        else:
            taken += 1
            assert prepared.width * prepared.height <= 89_478_485
        assert time.monotonic() - began < 10

    assert len(hostile) > 1000
    assert refused > 200
    assert refused + taken == len(hostile)
    assert _resident(os.getpid()) - before < 100


def _resident(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS"))


def convert(converters: Converters, body: bytes) -> bytes:
    return converters(body, LIMITS, keep_format=False, fit=False).body


MISBEHAVE = """
import dataclasses, os, signal, time
import vlm_runner.ingest.decoder as target
honest = target.convert_here
last, say = b"", target.send
def send(channel, message):
    if last.endswith(b"endless"): channel.sendall(b"x" * 2**20)
    if last.endswith(b"other"): channel.sendall(b"[]\\n")
    if last.endswith(b"deep"): channel.sendall(b"[" * 60_000 + b"\\n")
    while last.endswith(b"drip"): channel.sendall(b"x"), time.sleep(0.1)
    say(channel, message)
target.send = send
def convert_here(body, *args, **options):
    if body.endswith(b"crash"): os.kill(os.getpid(), signal.SIGSEGV)
    if body.endswith(b"hang"): time.sleep(60)
    if body.endswith(b"leave"): os._exit(7)
    if body.endswith(b"close"): os.closerange(3, 64), time.sleep(60)
    if body.endswith(b"swell"): bytearray(8 * 1024**3)
    global last
    last = body
    if body.endswith(b"lie"): target.write = lambda shared, made: None
    made = honest(body, *args, **options)
    return dataclasses.replace(made, way="north") if body.endswith(b"rave") else made
target.convert_here = convert_here
"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"crash", "signal SIGSEGV"),
        (b"hang", "longer than 1 s"),
        (b"drip", "longer than 1 s"),
        (b"leave", "exit code 7"),
        (b"swell", "memory|exit code"),
        (b"close", "lives on and does not answer"),
        (SOURCES["jpeg"] + b"lie", "its answer makes no sense"),
        (SOURCES["jpeg"] + b"rave", "its answer makes no sense"),
        (SOURCES["jpeg"] + b"endless", "its answer makes no sense"),
        (SOURCES["jpeg"] + b"other", "its answer makes no sense"),
        (SOURCES["jpeg"] + b"deep", "its answer makes no sense"),
    ],
)
def test_a_decoder_that_dies_takes_its_row_only(
    body: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if body == b"close":
        monkeypatch.setattr("vlm_runner.ingest.converters.END_SECONDS", 0.1)
    # A busy machine takes more than a second even to end a process.
    seconds = 1 if body in {b"hang", b"drip"} else 30
    with Converters(seconds=seconds, prelude=MISBEHAVE) as converters:
        with pytest.raises(ImageDefect, match=reason) as refused:
            convert(converters, body)

        assert refused.value.hint
        assert shown(convert(converters, SOURCES["jpeg"])) == shown(SOURCES["jpeg"])


def test_memory_of_a_large_image_is_given_back() -> None:
    with Converters() as converters:
        convert(converters, SOURCES["jpeg"])
        small = os.fstat(converters._idle[0]._shared).st_size
        with pytest.raises(ImageDefect):
            convert(converters, b"no image" + bytes(KEEP_SHARED))
        large = os.fstat(converters._idle[0]._shared).st_size

    assert small > large == 0


def test_a_decoder_that_was_killed_once_is_replaced() -> None:
    """
    The system kills when memory is short; that is no fault of the image.
    """
    with Converters() as converters:
        convert(converters, SOURCES["jpeg"])
        os.kill(converters._idle[0]._process.pid, signal.SIGKILL)

        assert shown(convert(converters, SOURCES["jpeg"])) == shown(SOURCES["jpeg"])


def test_has_a_process_for_each_call_at_once_and_ends_them_all() -> None:
    with Converters() as converters:
        threads = [threading.Thread(target=convert, args=(converters, SOURCES["webp"])) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        processes = [each._process for each in converters._idle]

    assert 1 <= len(processes) <= 3
    assert all(process.poll() is not None for process in processes)


def test_hands_no_secrets_to_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    with Converters() as converters:
        convert(converters, SOURCES["jpeg"])
        environment = Path(f"/proc/{converters._idle[0]._process.pid}/environ").read_bytes()

    assert b"PYTHONPATH=" in environment
    assert b"secret" not in environment


def test_says_so_if_decoders_do_not_start_at_all() -> None:
    """
    That is no row's fault, and must not be skipped as one.
    """
    with (
        Converters(prelude="raise SystemExit(3)") as converters,
        pytest.raises(VlmRunnerError, match="exit code 3"),
    ):
        convert(converters, SOURCES["jpeg"])


def test_decoders_killed_at_their_start_are_the_machines_fault_and_the_run_can_be_resumed() -> None:
    with (
        Converters(prelude="import os, signal; os.kill(os.getpid(), signal.SIGKILL)") as converters,
        pytest.raises(OutOfResources, match="SIGKILL"),
    ):
        convert(converters, SOURCES["jpeg"])


def test_no_more_processes_are_the_machines_fault_and_leave_no_file_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    before = len([*Path("/proc/self/fd").iterdir()])
    monkeypatch.setattr("subprocess.Popen", refuse)

    with Converters() as converters, pytest.raises(OutOfResources, match="temporarily unavailable"):
        convert(converters, SOURCES["jpeg"])

    assert len([*Path("/proc/self/fd").iterdir()]) == before
