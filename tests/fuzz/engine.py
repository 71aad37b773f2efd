"""
A small coverage-guided fuzzer: inputs that take new ways through the product are what further ones are made of.

Each target runs in a process of its own, so that one that is killed by a signal, hangs outside of Python or
fills memory is a finding, and not the end of the hunt.
"""

from __future__ import annotations

import faulthandler
import hashlib
import itertools
import json
import os
import random
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.fuzz import probes

SOURCE: Final = str(Path(__file__).parents[2] / "src" / probes.PACKAGE)
CORPUS: Final = Path(__file__).parent / "corpus"
KEPT: Final = "corpus"
"""The folder of a target's inputs that took a new way, for later hunts."""
LONGEST: Final = 64 * 1024
"""Bytes of an input that is made; seeds may be longer."""
MOST_ADDRESSES: Final = 6 * 1024**3
"""Bytes of address space that a process may take: the last line, behind `Target.memory`."""

strict = False
"""While the seeds of a plain target are run: nothing may be refused."""

WAITING: Final = 6
"""Times as long as `Target.seconds`, of real time, for an input that waits instead of working."""
NEWEST: Final = 8
"""Half of the inputs are made of the last ones that took a new way: these were tried least."""
MOST_PLACES: Final = 20_000
"""Values inside of one input, however often it was changed."""

Mutate = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """
    Something that reads what comes from outside.

    `run` returns where the input was taken, or refused as it should be; whatever it raises is a finding.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    mutate: Mutate
    seconds: float = 10.0
    """Of processor time that one input may take, which is the same on a machine that is busy."""
    plain: bool = True
    """Whether each seed must be taken: a fuzzer whose seeds are refused reaches nothing."""
    memory: int = 256
    """MiB that one input may add to the most that the process ever held."""


@dataclass
class Tally:
    target: str
    inputs: int = 0
    kept: int = 0
    """Inputs that took a new way."""
    lines: int = 0
    """Statements of the product's functions that were reached."""
    cpu: float = 0.0
    """Seconds of processor time."""
    findings: dict[str, str] = field(default_factory=dict[str, str])
    """What went wrong, each kind once, and the file that has the input."""


class TooSlow(BaseException):
    """Not an Exception: nothing that is fuzzed may catch it."""


def corpus(target: Target, into: Path | None = None) -> list[bytes]:
    """The seeds, inputs that once were findings or reach what seeds do not, and what earlier hunts kept."""
    kept = sorted((CORPUS / target.name).glob("*"))
    # The smallest first: a larger one that reaches nothing more is not kept then.
    earlier = (
        sorted((into / KEPT).glob("*"), key=lambda path: (path.stat().st_size, path.name)) if into else []
    )
    return [*target.seeds(), *(path.read_bytes() for path in (*kept, *earlier))]


def hunt(
    target: Target, *, seed: int, inputs: int | None, seconds: float | None, guided: bool, into: Path
) -> Tally:
    """
    Run `target` in a child on its corpus, and then on `inputs` mutated ones or for so many `seconds`.

    What is found is written `into` a folder; so is what a guided hunt keeps, and the next one begins with it.
    A child that dies is followed by another one.
    """
    (into / KEPT).mkdir(parents=True, exist_ok=True)
    began = _cpu_of_children()
    total, deadly = Tally(target.name), set[bytes]()
    end = None if seconds is None else time.monotonic() + seconds
    for attempt in range(1000):
        left = None if inputs is None else inputs - total.inputs
        if (left is not None and left <= 0 and attempt) or (end is not None and time.monotonic() >= end):
            break
        tally, died = _child(target, seed + attempt, left, end, guided=guided, into=into, deadly=deadly)
        total.inputs += tally.inputs
        total.kept, total.lines = max(total.kept, tally.kept), max(total.lines, tally.lines)
        total.findings = tally.findings | total.findings
        if died is None:
            break
        total.findings.setdefault(died, str(into / "died"))
        deadly.add((into / "died").read_bytes())
    total.cpu = _cpu_of_children() - began
    return total


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _child(
    target: Target,
    seed: int,
    inputs: int | None,
    end: float | None,
    *,
    guided: bool,
    into: Path,
    deadly: set[bytes],
) -> tuple[Tally, str | None]:
    current, told = into / "current", into / "tally.json"
    told.unlink(missing_ok=True)
    current.write_bytes(b"")
    pid = os.fork()
    if pid == 0:
        try:
            _explore(target, seed, inputs, end, guided=guided, into=into, deadly=deadly)
        except BaseException:  # noqa: BLE001 - the parent reports what this prints
            traceback.print_exc()
            os._exit(99)
        os._exit(0)
    hung = False
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.time() - current.stat().st_mtime > 2 * WAITING * target.seconds + 30:
            hung = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    code = os.waitstatus_to_exitcode(status)
    tally = Tally(target.name)
    if told.exists():
        tally = Tally(**json.loads(told.read_text()))
    if code == 0:
        return tally, None
    (into / "died").write_bytes(current.read_bytes())
    tally.inputs += 1
    what = "hangs outside of Python" if hung else f"dies of signal {-code}" if code < 0 else f"exit {code}"
    return tally, f"{target.name}: the process {what}"


def _explore(
    target: Target,
    seed: int,
    inputs: int | None,
    end: float | None,
    *,
    guided: bool,
    into: Path,
    deadly: set[bytes],
) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    chance, tally = random.Random(f"{seed} {target.name}"), Tally(target.name)
    pool = corpus(target, into if guided else None)
    beginning = [body for body in pool if body not in deadly]
    strict_for = target.seeds() if target.plain else []
    coverage = probes.Coverage()
    while True:
        if beginning:
            body = beginning.pop(0)
        elif (inputs is not None and tally.inputs >= inputs) or (end and time.monotonic() >= end):
            break
        else:
            # Half of the time one that was found last: what it reached has been looked at least.
            parent = chance.choice(pool[-NEWEST:] if chance.random() < 0.5 else pool)
            body = target.mutate(parent, chance)
            tally.inputs += 1
        (into / "current").write_bytes(body)
        _set_strict(body in strict_for)
        wrong = _tried(target, body)
        if coverage.add() and guided and len(body) <= LONGEST and body not in pool:
            pool.append(body)
            tally.kept += 1
            (into / KEPT / hashlib.sha256(body).hexdigest()[:16]).write_bytes(body)
        tally.lines = coverage.statements
        if wrong is not None and wrong not in tally.findings:
            path = into / f"finding-{len(list(into.glob('finding-*')))}"
            path.write_bytes(body)
            tally.findings[wrong] = str(path)
        if wrong is not None or tally.inputs % 50 == 0:
            (into / "tally.json").write_text(json.dumps(tally.__dict__))
    (into / "tally.json").write_text(json.dumps(tally.__dict__))


def _tried(target: Target, body: bytes) -> str | None:
    """What the input did wrong."""
    before = _peak()
    signal.signal(signal.SIGPROF, _too_slow)
    signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_PROF, target.seconds)
    signal.setitimer(signal.ITIMER_REAL, WAITING * target.seconds)
    faulthandler.dump_traceback_later(WAITING * target.seconds + 20)
    wrong = None
    try:
        target.run(body)
    except TooSlow as error:
        wrong = f"{target.name}: takes longer than {target.seconds:.0f} s {_where(error)}"
    except Exception as error:  # noqa: BLE001 - each is a finding
        said = str(error).split("\n", 1)[0][:200] if isinstance(error, AssertionError) else ""
        wrong = f"{target.name}: {type(error).__name__} {said} {_where(error)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
    grown = _peak() - before
    if grown > target.memory and wrong is None:
        wrong = f"{target.name}: takes more than {target.memory} MiB"
    return wrong


def _set_strict(on: bool) -> None:
    global strict  # noqa: PLW0603 - of this process, which is a child that fuzzes
    strict = on


def _too_slow(*_: Any) -> None:
    raise TooSlow


def _peak() -> float:
    """MiB that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _where(error: BaseException) -> str:
    """The last line of the product, so that one fault is one finding."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename.startswith(SOURCE)]
    return f"at {frames[-1].filename.removeprefix(SOURCE)}:{frames[-1].lineno}" if frames else ""


# What changes an input.

ODD_BYTES: Final = (
    b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x80", b"\r\n", b"\n",
    b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b[2J",
)  # fmt: skip
ODD_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 7, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308,
    float("inf"), float("-inf"), float("nan"), "", " ", "text", "a\nb", "\ud800", "\udc00\ud800", "\x00",
    "\x1b[2J\u202e\u2028", "9" * 5000, "x" * 5000, "1e999", "NaN", "null", "[]", "{}", "../../etc/passwd",
    "{{ 7 * 7 }}", "<thought>", "\N{PILE OF POO}" * 20, [], [[]], [None], [7], {}, {"": None}, {"a": {"a": {}}},
    "2026-02-30T25:61:61Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59+14:00", "P1D", "1" * 400,
)  # fmt: skip


def mutated_bytes(*words: bytes) -> Mutate:
    """Some bytes of another mind; `words` are what the format is made of."""

    def mutate(body: bytes, chance: random.Random) -> bytes:
        made = bytearray(body)
        for _ in range(1 << chance.randrange(4)):
            at = chance.randrange(len(made) + 1)
            many = chance.choice((1, 2, 4, 16, 64, 256))
            match chance.randrange(8):
                case 0:
                    made[at : at + 1] = bytes([chance.randrange(256)])
                case 1:
                    del made[at : at + many]
                case 2:
                    made[at:at] = chance.randbytes(many)
                case 3:
                    made[at : at + 4] = chance.choice(ODD_BYTES)
                case 4 if at < len(made):
                    made[at] ^= 1 << chance.randrange(8)
                case 5 if words:
                    made[at : at + chance.choice((0, many))] = chance.choice(words)
                case 6:
                    start = chance.randrange(len(made) + 1)
                    made[at:at] = made[start : start + many]
                case _:
                    del made[max(0, len(made) - chance.randrange(64)) :]
        return bytes(made[: max(LONGEST, len(body))])

    return mutate


def mutated_json(*words: Any, lines: bool = False) -> Mutate:
    """The same shape with a few values, keys or items of another kind; sometimes only the bytes."""
    plainly = mutated_bytes()
    values = (*ODD_VALUES, *words)

    def mutate(body: bytes, chance: random.Random) -> bytes:
        if chance.random() < 0.1:
            return plainly(body, chance)
        pieces = body.split(b"\n") if lines else [body]
        at = chance.randrange(len(pieces))
        try:
            value = json.loads(pieces[at])
        except (ValueError, RecursionError):
            return plainly(body, chance)
        try:
            for _ in range(1 << chance.randrange(3)):
                value = _changed(value, chance, values)
            made = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")
        except (RecursionError, ValueError):  # integers of more than 4,300 digits
            return plainly(body, chance)
        pieces[at : at + 1] = [made] * (2 if lines and chance.random() < 0.1 else 1)
        return b"\n".join(pieces)[:LONGEST]

    return mutate


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys: Sequence[Any] = (
            list(holder)
            if isinstance(holder, dict)
            else range(len(holder))
            if isinstance(holder, list)
            else ()
        )
        for key in keys:
            yield holder, key
            waiting.append(holder[key])


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _changed(value: Any, chance: random.Random, values: Sequence[Any]) -> Any:
    places = list(itertools.islice(_places(value), MOST_PLACES))
    # What an input takes of the odd values is changed with it, so it takes copies: else they would hold each other.
    odd = _copy(chance.choice(values))
    if not places or chance.random() < 0.02:
        return odd
    holder, key = chance.choice(places)
    match chance.randrange(7):
        case 0 if isinstance(holder, dict):
            del holder[key]
        case 1 if isinstance(holder, dict):
            other = chance.choice([*holder, "", "x" * 300, "\ud800", *map(str, values[-8:])])
            holder[other] = _copy(holder[key])
        case 2 if isinstance(holder, list):
            many = chance.choice((1, 2, 40 if len(places) < MOST_PLACES / 40 else 1))
            holder[key:key] = [_copy(holder[key]) for _ in range(many)]
        case 3:
            one, at = chance.choice(places)
            holder[key] = _copy(one[at]) if key in one or isinstance(one, list) else None
        case 4:
            inner = holder[key]
            for _ in range(chance.choice((1, 2, 60, 400))):
                inner = {"a": inner} if chance.random() < 0.3 else [inner]
            holder[key] = inner
        case 5 if isinstance(holder[key], str):
            text = mutated_bytes()(holder[key].encode(errors="surrogatepass"), chance)
            holder[key] = text.decode(errors="replace")
        case _:
            holder[key] = odd
    return value


def _bytes(text: str) -> bytes:
    """Bytes that were no UTF-8 as they were; any other unpaired surrogate as three bytes."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


def mutated_text(*words: str) -> Mutate:
    """Pieces of text put together anew; `words` are what the language is made of."""
    plainly = mutated_bytes(*(word.encode(errors="surrogatepass") for word in words))

    def mutate(body: bytes, chance: random.Random) -> bytes:
        if chance.random() < 0.3:
            return plainly(body, chance)
        lines = body.decode(errors="surrogateescape").split("\n")
        for _ in range(1 << chance.randrange(3)):
            at = chance.randrange(len(lines) + 1)
            match chance.randrange(4):
                case 0:
                    del lines[at : at + 1]
                case 1:
                    lines[at:at] = [chance.choice(lines) if lines else ""]
                case 2 if at < len(lines):
                    place = chance.randrange(len(lines[at]) + 1)
                    cut = place + chance.choice((0, 0, 1, 5, 40))
                    lines[at] = lines[at][:place] + chance.choice(words) + lines[at][cut:]
                case _:
                    lines[at:at] = ["".join(chance.choices(words, k=chance.randrange(1, 5)))]
            lines = lines or [""]
        return b"\n".join(map(_bytes, lines))[:LONGEST]

    return mutate
