"""
A model of the protocol, small enough to look at every order in which things can happen.

Processes take the run over from each other at any time, freeze for ever, and crash; requests are lost,
answered late, or delivered after their sender died; a look-up may not see what is there; cancel may be asked
for at any time. Time appears in two places only, and as what it is good for:

* a process that was taken over does not send any more (`Claim.check`, between signing and sending);
* a sweep ends when nothing that was sent can arrive any more (`core.decide.QUIET`).

One action of a process is what happens between two points at which another process may act.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN, INTENT, HAVE, RELEASING, DONE = range(5)
OUT, LOOP, DOUBT, LOOK, SIGNED, WAITING, BOUGHT, LOST, DELETE, SWEEP, LAST, UNDO = range(12)
"""What a process is about to do; OUT: it has crashed, or does not drive the run."""

NOBODY = -1


class Process(NamedTuple):
    doing: int = OUT
    version: int = 0
    checked: bool = False
    """Only where the lease is checked before signing: that it was."""


class State(NamedTuple):
    version: int
    epoch: int
    holder: int
    phase: int
    unsure: bool
    """A create of unknown fate is recorded."""
    rented: bool
    """An endpoint is recorded."""
    cancel: bool
    cancelled: bool
    alive: int
    bought: int
    flying: tuple[int, ...]
    """Creates under way, by their senders; NOBODY where the sender waits no more."""
    crashes: int
    processes: tuple[Process, ...]


@dataclass(frozen=True)
class Rules:
    """Each of them is a rule of the protocol; switched off it is a mutant."""

    swap: bool = True
    """A save replaces the version it was made from, or nothing."""
    look: bool = True
    unique: bool = True
    """AWS refuses a name that is in use: names derive from the run, so all creates have the same."""
    doubt_on_takeover: bool = True
    doubt_on_loss: bool = True
    sweep: bool = True
    check_before_send: bool = True
    undo: bool = True
    never_freed: bool = False
    """A job's name: it stays taken when the job has ended."""


@dataclass(frozen=True)
class Bounds:
    processes: int = 2
    epochs: int = 3
    crashes: int = 1
    flying: int = 2
    bought: int = 3


class Violation(AssertionError):
    def __init__(self, what: str, path: list[str]) -> None:
        super().__init__(f"{what} after {len(path)} steps: {' · '.join(path)}")


def explore(rules: Rules, bounds: Bounds) -> int:
    """
    Every state that can be reached; how many there are.

    Raises:
        Violation: with the shortest way to it.
    """
    start = State(
        0, 0, NOBODY, OPEN, False, False, False, False, 0, 0, (), 0, (Process(),) * bounds.processes
    )
    came: dict[State, tuple[State, str] | None] = {start: None}
    todo = deque([start])
    while todo:
        state = todo.popleft()
        for name, after in actions(state, rules, bounds):
            if after in came:
                continue
            came[after] = (state, name)
            if (what := wrong(after, rules, before=state)) is not None:
                raise Violation(what, _path(came, after))
            todo.append(after)
    return len(came)


def _path(came: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    names: list[str] = []
    at = came[state]
    while at is not None:
        state, name = at
        names.append(name)
        at = came[state]
    return names[::-1]


def wrong(state: State, rules: Rules, *, before: State) -> str | None:
    if state.alive > 1 and not rules.never_freed:
        return "two endpoints at once"
    if rules.never_freed and state.bought > 1:
        return "two jobs"
    undoing = any(process.doing == UNDO for process in state.processes)
    held = any(process.doing == BOUGHT for process in state.processes)
    if state.phase == DONE and state.alive and not undoing and not held:
        return "an endpoint outlives its run"
    if state.phase < before.phase:
        return "the run went back"
    return None


def actions(state: State, rules: Rules, bounds: Bounds) -> Iterator[tuple[str, State]]:
    if not state.cancel and state.phase < RELEASING:
        yield "cancel is asked for", state._replace(cancel=True)
    for at, sender in enumerate(state.flying):
        rest = state.flying[:at] + state.flying[at + 1 :]
        yield from _arrival(state, sender, rest, rules, bounds)
        yield "a request is lost", _answer(state._replace(flying=rest), sender, LOST)
        if sender != NOBODY:
            # The sender gives up waiting; what it sent is still on its way.
            unanswered = (*state.flying[:at], NOBODY, *state.flying[at + 1 :])
            yield "an answer is late", _answer(state._replace(flying=unanswered), sender, LOST)
    for who, process in enumerate(state.processes):
        if process.doing != OUT and state.crashes < bounds.crashes:
            flying = tuple(NOBODY if sender == who else sender for sender in state.flying)
            crashed = state._replace(crashes=state.crashes + 1, flying=flying)
            yield f"{who} crashes", _put(crashed, who, Process())
        for name, after in _process(state, who, process, rules, bounds):
            yield f"{who} {name}", after


def _arrival(
    state: State, sender: int, rest: tuple[int, ...], rules: Rules, bounds: Bounds
) -> Iterator[tuple[str, State]]:
    taken = state.bought if rules.never_freed else state.alive
    if taken and rules.unique:
        # By token or by name: the sender looks again, and finds it.
        yield "a request finds its name taken", _answer(state._replace(flying=rest), sender, LOOK)
        return
    if state.bought >= bounds.bought:
        return
    made = state._replace(flying=rest, alive=state.alive + 1, bought=state.bought + 1)
    yield "a request is granted", _answer(made, sender, BOUGHT)
    yield "a request is granted, its answer lost", _answer(made, sender, LOST)


def _answer(state: State, sender: int, doing: int) -> State:
    if sender == NOBODY:
        return state
    return _put(state, sender, state.processes[sender]._replace(doing=doing))


def _put(state: State, who: int, process: Process) -> State:
    processes = (*state.processes[:who], process, *state.processes[who + 1 :])
    return state._replace(processes=processes)


def _save(state: State, who: int, doing: int, rules: Rules, **changes: object) -> State | None:
    """The state after a save by `who`; None where another one came between."""
    process = state.processes[who]
    if rules.swap and process.version != state.version:
        return None
    saved = state._replace(version=state.version + 1, **changes)  # type: ignore[arg-type]
    return _put(saved, who, Process(doing, saved.version))


def _process(  # noqa: C901, PLR0912 - one branch a thing that a process can be about to do
    state: State, who: int, process: Process, rules: Rules, bounds: Bounds
) -> Iterator[tuple[str, State]]:
    fenced = _put(state, who, Process())
    match process.doing:
        case d if d == OUT:
            # From a holder that let go, crashed, or is only silent: whoever is silent may be taken over.
            if state.epoch < bounds.epochs and state.phase != DONE and state.holder != who:
                inherited = state.holder != NOBODY
                doubts = inherited and rules.doubt_on_takeover and state.phase == INTENT and not state.unsure
                taken = state._replace(version=state.version + 1, epoch=state.epoch + 1, holder=who)
                yield "takes the run", _put(taken, who, Process(DOUBT if doubts else LOOP, taken.version))
            if state.holder == who and state.phase != DONE and state.epoch < bounds.epochs:
                # Started again, it is a stranger to what it did before.
                yield "comes back", state._replace(holder=bounds.processes)
        case d if d == DOUBT:
            yield "doubts", _save(state, who, LOOP, rules, unsure=True) or fenced
        case d if d == LOOP:
            yield from _loop(state, who, rules, fenced)
        case d if d == LOOK:
            if state.alive and rules.look:
                yield "finds it", _put(state, who, process._replace(doing=BOUGHT))
            checked = state.holder == who if not rules.check_before_send else False
            yield "sees nothing, and signs", _put(state, who, process._replace(doing=SIGNED, checked=checked))
            if state.cancel and not state.cancelled:
                yield "sees the mark", _put(state, who, process._replace(doing=LOOP))
        case d if d == SIGNED:
            may = state.holder == who if rules.check_before_send else process.checked
            if may and len(state.flying) < bounds.flying:
                sent = state._replace(flying=tuple(sorted((*state.flying, who))))
                yield "sends", _put(sent, who, process._replace(doing=WAITING, checked=False))
            if not may:
                yield "is stopped before it sends", fenced
        case d if d == BOUGHT:
            kept = _save(state, who, LOOP, rules, phase=max(state.phase, HAVE), rented=True)
            yield "records it", kept or _put(state, who, process._replace(doing=UNDO if rules.undo else OUT))
        case d if d == LOST:
            if state.unsure or not rules.doubt_on_loss:
                yield "looks again", _put(state, who, process._replace(doing=LOOP))
            else:
                yield "is unsure", _save(state, who, LOOP, rules, unsure=True) or fenced
        case d if d == UNDO:
            # While the run waits for it, whoever drives the run finds it by name.
            deleted = state if state.phase <= HAVE else state._replace(alive=0)
            yield "leaves it or undoes it", _put(deleted, who, Process())
        case d if d == DELETE:
            must = rules.sweep and (state.unsure or not state.rented)
            yield (
                "deletes",
                _put(state._replace(alive=0), who, process._replace(doing=SWEEP if must else LAST)),
            )
        case d if d == SWEEP:
            if not state.flying:
                yield (
                    "has waited, and deletes again",
                    _put(state._replace(alive=0), who, process._replace(doing=LAST)),
                )
        case d if d == LAST:
            yield "is done", _save(state, who, OUT, rules, phase=DONE, holder=NOBODY) or fenced


def _loop(state: State, who: int, rules: Rules, fenced: State) -> Iterator[tuple[str, State]]:
    process = state.processes[who]
    if process.version != state.version and rules.swap:
        yield "finds itself replaced", fenced
        return
    if state.phase in {OPEN, INTENT, HAVE} and state.cancel:
        after = _save(state, who, LOOP, rules, phase=RELEASING, cancelled=True)
        yield "records the cancel", after or fenced
        return
    match state.phase:
        case p if p == OPEN:
            yield "intends", _save(state, who, LOOP, rules, phase=INTENT) or fenced
        case p if p == INTENT:
            yield "goes to look", _put(state, who, process._replace(doing=LOOK))
        case p if p == HAVE:
            yield "has used it", _save(state, who, LOOP, rules, phase=RELEASING) or fenced
        case p if p == RELEASING:
            yield "releases", _put(state, who, process._replace(doing=DELETE))
    if state.phase < DONE:
        # Stopped between two commands: nothing of its own is under way, or it is recorded as unsure.
        yield "lets go", _save(state, who, OUT, rules, holder=NOBODY) or fenced
