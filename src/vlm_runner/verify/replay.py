"""
A recording, asked again of a sandbox: every difference is found.

The sandbox's clock stands still but where the recording saw something change: then it is moved on until the
sandbox shows the same. So it does not matter how long anything took at AWS.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from vlm_runner.errors import AwsRefused, AwsUnavailable
from vlm_runner.verify.compare import (
    Difference,
    differences,
    is_placeholder,
    leaves,
    passes_through,
    shape_differences,
    state_of,
)
from vlm_runner.verify.redaction import BODY, NOBODY, Redactor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from vlm_runner.aws.exchange import RawExchange
    from vlm_runner.aws.session import AwsSession
    from vlm_runner.verify.recording import Exchange, Header

STEP_SECONDS: Final = 60.0
"""Short enough to see every state that the sandbox passes through."""
SURE_SECONDS: Final = 2 * 3600.0
"""After which steps grow: the sandbox is not likely to come to that state."""
STEP_GROWTH: Final = 1.2
MOST_SECONDS: Final = 2 * 86400.0
"""Until the sandbox must have come to a state."""

QUESTION: Final = [{"role": "user", "content": [{"text": "What is missing?"}]}]
"""In place of what a model was asked."""

_EVERYTHING: Final = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)
"""What the roles were allowed is not in a recording; where it was too little, that is."""
_DUE: Final = "at(%Y-%m-%dT%H:%M:%S)"
_THROTTLED: Final = frozenset({"ThrottlingException", "Throttling", "SlowDown", "TooManyRequestsException"})
_POLLED: Final = ("Get", "ReceiveMessage")


class Hearing:
    """What a session has heard last; its `hear` is what the session calls."""

    def __init__(self) -> None:
        self._redactor = Redactor(b"replay", uid=NOBODY)
        self.last: tuple[RawExchange, dict[str, Any]] | None = None

    def hear(self, raw: RawExchange) -> None:
        self.last = (raw, self._redactor.exchange(raw))


class Sandboxed(Protocol):
    """The sandbox's own clock."""

    async def advance(self, seconds: float) -> None: ...


def is_noise(exchange: Exchange) -> bool:
    """What the network or the hour did, and no rule of AWS's."""
    return exchange.status >= 500 or exchange.code in _THROTTLED


class Replay:
    def __init__(
        self,
        session: AwsSession,
        hearing: Hearing,
        clock: Sandboxed,
        training_data: Callable[[], Awaitable[str]],
    ) -> None:
        """`training_data` puts records into the sandbox that a job can train on, and gives their URI."""
        self._session, self._hearing, self._clock = session, hearing, clock
        self._training_data = training_data
        self._bound: dict[str, str] = {}
        self._stored: set[str] = set()
        self._states: dict[str, tuple[str, list[str], list[str]]] = {}
        self._answers: list[Exchange] = []
        self._astray: set[str] = set()
        """What never came to a state that the recording saw: it is not waited for again."""

    async def run(self, header: Header, exchanges: Sequence[Exchange]) -> list[Difference]:
        """All differences, each once."""
        await self._prepare(header, exchanges)
        asked = [each for each in exchanges if not is_noise(each)]
        found: dict[Difference, None] = {}
        began = datetime.fromisoformat(header.date)
        for each in asked:
            answer = await self._same(each, began + timedelta(seconds=each.seconds))
            found |= dict.fromkeys(differences(each, answer))
        found |= dict.fromkeys(shape_differences(asked, self._answers))
        for operation, aws, sandbox in self._states.values():
            if not passes_through(aws, sandbox):
                shown = " → ".join(aws), " → ".join(sandbox)
                found[Difference(operation, "states", "", *shown)] = None
        return list(found)

    async def _prepare(self, header: Header, exchanges: Sequence[Exchange]) -> None:
        """What the account had before: roles, and perhaps the bucket."""
        iam = self._session.service("iam")
        for given, service in (("role_arn", "bedrock"), ("switch_role_arn", "scheduler")):
            if given in header.given:
                trust = _trust(f"{service}.amazonaws.com", header.given[given].split(":")[4])
                name = header.given[given].rpartition("/")[2]
                await iam.call("CreateRole", RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
                await iam.call("PutRolePolicy", RoleName=name, PolicyName="all", PolicyDocument=_EVERYTHING)
        head = next((each for each in exchanges if each.operation == "HeadBucket"), None)
        if head is not None and head.accepted:
            await self._session.service("s3").call("CreateBucket", Bucket=header.given["bucket"])

    async def _same(self, exchange: Exchange, at: datetime) -> Exchange:
        """The sandbox's answer to what was asked `at`, in the same state if it ever comes to it."""
        parameters = await self._parameters(exchange, at)
        answer = await self._send(exchange, parameters)
        if not exchange.operation.startswith(_POLLED):
            return answer
        key = json.dumps([exchange.operation, exchange.request], sort_keys=True)
        _, aws, sandbox = self._states.setdefault(key, (exchange.operation, [], []))
        wanted, waited, step = _sign(exchange), 0.0, STEP_SECONDS
        _seen(aws, state_of(exchange))
        _seen(sandbox, state_of(answer))
        while _sign(answer) != wanted and wanted is not None and key not in self._astray:
            if waited >= MOST_SECONDS:
                self._astray.add(key)
                break
            await self._clock.advance(step)
            waited, step = waited + step, step * (STEP_GROWTH if waited > SURE_SECONDS else 1)
            answer = await self._send(exchange, parameters)
            _seen(sandbox, state_of(answer))
        self._bind(exchange.answer)
        return answer

    async def _send(self, exchange: Exchange, parameters: dict[str, Any]) -> Exchange:
        self._hearing.last = None
        try:
            await self._session.service(exchange.service).call(exchange.operation, **parameters)
        except (AwsRefused, AwsUnavailable) as error:
            if self._hearing.last is None:
                raise AwsRefused(f"{exchange.operation} cannot be asked again: {error}") from error
        if self._hearing.last is None:
            raise AwsUnavailable(f"{exchange.operation} was not answered by the sandbox.")
        _, said = self._hearing.last
        self._bind(exchange.answer)
        answer = replace(
            exchange,
            status=said["status"],
            code=said["code"],
            message=said["message"],
            answer=json.loads(json.dumps(said["answer"])),
        )
        self._answers.append(answer)
        return answer

    async def _parameters(self, exchange: Exchange, at: datetime) -> dict[str, Any]:
        request: dict[str, Any] = self._translated(dict(exchange.request))
        match exchange.operation:
            case "PutObject" | "UploadPart":
                request["Body"] = b"vlm-runner"
                self._stored.add(f"s3://{request['Bucket']}/{request['Key']}")
            case "CreateSchedule" | "UpdateSchedule":
                due = datetime.strptime(request["ScheduleExpression"], _DUE).replace(tzinfo=UTC)
                # The sandbox takes a date for what it is by the clock of whoever asks.
                request["ScheduleExpression"] = (datetime.now(UTC) + (due - at)).strftime(_DUE)
            case "Converse":
                request["messages"] = QUESTION
            case "InvokeModel":
                request["body"] = json.dumps({"messages": QUESTION}).encode()
            case "CreateModelCustomizationJob" if request["trainingDataConfig"]["s3Uri"] in self._stored:
                # What was stored there is not in the recording.
                request["trainingDataConfig"] = {"s3Uri": await self._training_data()}
        return request

    def _translated(self, value: Any) -> Any:
        """With the sandbox's names for what the sandbox has named."""
        if isinstance(value, str):
            return self._bound.get(value, value)
        if isinstance(value, Mapping):
            return {key: self._translated(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._translated(each) for each in value]
        return value

    def _bind(self, recorded: Mapping[str, Any]) -> None:
        """What AWS called so in this answer, the sandbox calls otherwise."""
        if self._hearing.last is None:
            return
        raw, _ = self._hearing.last
        ours = dict(leaves(raw.answer))
        for path, value in leaves(recorded):
            if isinstance(value, str) and value != BODY and is_placeholder(value):
                other = ours.get(path)
                if isinstance(other, str):
                    self._bound.setdefault(value, other)


def _seen(states: list[str], state: str | None) -> None:
    if state is not None and states[-1:] != [state]:
        states.append(state)


def _sign(exchange: Exchange) -> str | None:
    """By which a look at something shows that it has come as far as another look."""
    if exchange.operation == "ReceiveMessage":
        return str(len(exchange.answer.get("Messages") or []))
    return state_of(exchange)


def _trust(service: str, account: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": service},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": account}},
            }
        ],
    }
