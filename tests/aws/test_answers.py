"""What answers 2xx need not be AWS: whatever comes, callers see a value of the ports or one of our errors."""

import ast
import asyncio
import inspect
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import vlm_runner.aws
from tests.malformed import MALFORMED
from vlm_runner.aws import session
from vlm_runner.aws.answers import AwsAnswer, AwsService
from vlm_runner.aws.ecs import EcsTarget
from vlm_runner.aws.leftovers import Leftover
from vlm_runner.aws.ports import Deletion
from vlm_runner.aws.queue import Message
from vlm_runner.aws.session import AwsSession
from vlm_runner.errors import AwsUnavailable, UncertainCreate, VlmRunnerError
from vlm_runner.sandbox.event_stream import event_stream
from vlm_runner.spec import ServingMode

ARN = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefghijkl"
PROVISIONED, ON_DEMAND = ServingMode.PROVISIONED, ServingMode.ON_DEMAND


class Portal(ThreadingHTTPServer):
    """Answers 200 with `body` to whatever it is asked."""

    daemon_threads = True
    body = b""
    asked: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked = self.headers  # type: ignore[attr-defined]
        body = self.server.body  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = answer  # noqa: N815 - http.server names them

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    with Portal(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore repeats what S3 answers in a form that is not XML, with pauses."""
    monkeypatch.setattr(
        session, "USES", {"read": (1, 10, 60), "pay": (1, 3, 20), "bulk": (1, 10, 60), "call": (1, 10, 60)}
    )


Call = Callable[[AwsSession], Awaitable[Any]]


async def taken(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


TARGET = EcsTarget("cluster", "task:1", ("subnet-1",), ("sg-1",), "ENABLED", "FARGATE", "s3://b/k")
DELETION = Deletion("name", datetime(2026, 1, 1, tzinfo=UTC), PROVISIONED, "endpoint", ARN)
JOB = {
    "jobName": "job",
    "customModelName": "model",
    "roleArn": "arn:aws:iam::123456789012:role/bedrock",
    "baseModelIdentifier": "amazon.nova-lite-v1:0",
    "trainingDataConfig": {"s3Uri": "s3://bucket/key"},
    "outputDataConfig": {"s3Uri": "s3://bucket/out"},
}
THROUGHPUT = {"modelUnits": 1, "provisionedModelName": "name", "modelId": ARN}
DEPLOYMENT = {"modelDeploymentName": "name", "modelArn": ARN}
CONVERSE = {"modelId": ARN, "messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/wakeups"

CREATES: dict[str, Call] = {
    "CreateModelCustomizationJob": lambda aws: aws.bedrock.create_job(JOB),
    "CreateProvisionedModelThroughput": lambda aws: aws.bedrock.create_endpoint(PROVISIONED, THROUGHPUT),
    "CreateCustomModelDeployment": lambda aws: aws.bedrock.create_endpoint(ON_DEMAND, DEPLOYMENT),
}
READS: dict[str, Call] = {
    "GetFoundationModel": lambda aws: aws.bedrock.foundation_model("amazon.nova-lite-v1:0"),
    "GetModelCustomizationJob": lambda aws: aws.bedrock.find_job("job"),
    "GetCustomModel": lambda aws: aws.bedrock.find_model("model"),
    "GetProvisionedModelThroughput": lambda aws: aws.bedrock.find_endpoint(PROVISIONED, "name"),
    "GetCustomModelDeployment": lambda aws: aws.bedrock.find_endpoint(ON_DEMAND, "name"),
    "ListProvisionedModelThroughputs": lambda aws: taken(aws.bedrock.list_endpoints(PROVISIONED, "vlm")),
    "ListCustomModels": lambda aws: taken(aws.bedrock.list_models()),
    "ListCustomModelDeployments": lambda aws: taken(aws.bedrock.list_endpoints(ON_DEMAND, "vlm")),
    "ListTagsForResource": lambda aws: aws.bedrock.tags(ARN),
    "ListSchedules": lambda aws: taken(aws.leftovers().schedules("vr-")),
    "ListModelCustomizationJobs": lambda aws: aws.inspection.running_jobs(),
    "ConverseStream": lambda aws: taken(aws.runtime.converse_stream(CONVERSE)),
    "Converse": lambda aws: aws.runtime.converse(CONVERSE),
    "InvokeModel": lambda aws: aws.runtime.invoke(ARN, b"{}", lambda body: body["generation"].strip()),
    "GetCallerIdentity": lambda aws: aws.account.caller(),
    "GetRole": lambda aws: aws.inspection.role("arn:aws:iam::123456789012:role/r"),
    "PutObject": lambda aws: aws.objects("bucket", owner=None).put("k", b"x", content_type="text/plain"),
    "PutObject, once": lambda aws: aws.objects("bucket", owner=None).put_once("k", b"x", content_type="a/b"),
    "PutObject, if": lambda aws: aws.state_objects("bucket").put_if("k", b"{}", replacing=None),
    "GetObject": lambda aws: aws.state_objects("bucket").get("k"),
    "GetObject, streamed": lambda aws: taken(aws.objects("bucket", owner=None).read("k")),
    "ListObjectsV2": lambda aws: taken(aws.objects("bucket", owner=None).list("folder/")),
    "CreateMultipartUpload": lambda aws: aws.objects("bucket", owner=None).concatenate(
        "k", [("a", 6_000_000), ("b", 10)], cut=0, content_type="a/b"
    ),
    "GetSchedule": lambda aws: aws.scheduler.due("name"),
    "CreateSchedule": lambda aws: aws.scheduler.put(DELETION),
    "DescribeStacks": lambda aws: aws.ecs().place("stack"),
    "RunTask": lambda aws: aws.ecs().run_task(TARGET, ["start"], token="t", run_id="r"),
    "UpdatePipeline": lambda aws: aws.sagemaker().upsert("p", {}, role_arn="a" * 20, token="t" * 32),
    "StartPipelineExecution": lambda aws: aws.sagemaker().start("p", {}, token="t" * 32, label="l"),
    "ListPipelineExecutions": lambda aws: aws.sagemaker().executions("p", label="l"),
    "DescribePipelineExecution": lambda aws: aws.sagemaker().describe("a" * 20),
    "PutEvents": lambda aws: aws.announcer().put_event("bus", {"type": "t"}),
    "Publish": lambda aws: aws.announcer().publish(
        "arn:aws:sns:us-east-1:123456789012:t", {"type": "t", "subject": "s", "id": "i"}
    ),
    "GetProducts": lambda aws: aws.prices.find("us-east-1", "USE1-NovaLite-input-tokens"),
    "GetCostAndUsage": lambda aws: aws.cost_explorer().billed(
        "tag", "value", date(2026, 1, 1), date(2026, 1, 2)
    ),
}
HOLDS_NOTHING: dict[str, Call] = {
    # Their answers are empty by AWS's own account, or may be; what they do is looked at afterwards.
    "StopModelCustomizationJob": lambda aws: aws.bedrock.stop_job("job"),
    "DeleteProvisionedModelThroughput": lambda aws: aws.bedrock.delete_endpoint(PROVISIONED, "name"),
    "DeleteCustomModelDeployment": lambda aws: aws.bedrock.delete_endpoint(ON_DEMAND, "name"),
    "DeleteCustomModel": lambda aws: aws.bedrock.delete_model("model"),
    "TagResource": lambda aws: aws.bedrock.tag(ARN, {"a": "b"}),
    "DeleteObject": lambda aws: aws.objects("bucket", owner=None).delete("k"),
    "DeleteSchedule": lambda aws: aws.scheduler.delete("name"),
    "StopPipelineExecution": lambda aws: aws.sagemaker().stop("a" * 20, token="t" * 32),
    "DeletePipeline": lambda aws: aws.sagemaker().delete("p", token="t" * 32),
    "ReceiveMessage": lambda aws: aws.queue(QUEUE).receive(0),
    "ListQueues": lambda aws: taken(aws.leftovers().queues("vr-")),
    "DeleteQueue": lambda aws: aws.leftovers().remove(Leftover("queue", "q", QUEUE)),
    "DeleteMessage": lambda aws: aws.queue(QUEUE).delete(Message("", "receipt")),
    "ChangeMessageVisibility": lambda aws: aws.queue(QUEUE).put_back(Message("", "receipt"), 1),
    "GetBucketEncryption": lambda aws: aws.inspection.default_key("bucket", "123456789012"),
    "HeadBucket, GetBucketLocation": lambda aws: aws.inspection.bucket("bucket", "123456789012"),
    "CreateBucket": lambda aws: aws.account.ensure_bucket(
        "bucket", account="123456789012", region="us-east-1"
    ),
    "SimulatePrincipalPolicy": lambda aws: aws.inspection.simulate(ARN, ["s3:GetObject"], "*", {}),
    "GetServiceQuota": lambda aws: aws.inspection.quota("L-12345678"),
    "ListServiceQuotas": lambda aws: aws.inspection.quota_named("units"),
}
BY_NAME = {"GetServiceQuota", "ListServiceQuotas"}
"""Operations that are called by a variable, with their fallback."""


@pytest.fixture(params=["obstore", "aioboto3"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


async def outcomes(calls: Mapping[str, Call], portal: Portal, engine: Any = "aioboto3") -> dict[str, Any]:
    """What each of them returns, or the error of ours that it raises."""
    found: dict[str, Any] = {}
    async with AwsSession(region="us-east-1", endpoint_url=portal.url, engine=engine) as aws:
        for name, call in calls.items():
            try:
                found[name] = await call(aws)
            except VlmRunnerError as error:
                found[name] = error
    return found


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_what_a_create_answered_is_in_doubt(portal: Portal, body: bytes) -> None:
    portal.body = body
    found = await outcomes(CREATES, portal)

    assert {name: type(error) for name, error in found.items()} == dict.fromkeys(CREATES, UncertainCreate)


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_an_answer_without_its_members_is_no_answer(portal: Portal, body: bytes, engine: Any) -> None:
    """
    Neither a traceback, nor an empty list, nor None: nobody has looked.
    """
    portal.body = body
    calls = READS if engine == "aioboto3" else {name: READS[name] for name in READS if "Object" in name}
    found = await outcomes(calls, portal, engine)

    assert {name for name, error in found.items() if not isinstance(error, AwsUnavailable)} == set()


async def abandoned(pieces: Any) -> None:
    """Take one of them and stop, as a caller that fails."""
    async with aclosing(pieces):
        async for _ in pieces:
            raise AwsUnavailable("enough")


DELTA = event_stream([("contentBlockDelta", {"delta": {"text": "Hello"}})])
UNREAD: dict[str, tuple[bytes, Call]] = {
    "GetObject without ETag": (b"some", READS["GetObject"]),
    "GetObject, streamed, without ETag": (b"some", READS["GetObject, streamed"]),
    "GetObject, streamed, abandoned": (
        b"some",
        lambda aws: abandoned(aws.objects("bucket", owner=None).read("with-etag")),
    ),
    "ConverseStream of noise": (b"noise" * 9, READS["ConverseStream"]),
    "ConverseStream, abandoned": (DELTA, lambda aws: abandoned(aws.runtime.converse_stream(CONVERSE))),
}


@pytest.mark.parametrize(("body", "call"), UNREAD.values(), ids=UNREAD)
async def test_the_connection_of_a_body_that_was_not_read_is_closed(body: bytes, call: Call) -> None:
    """
    At once, while the error is still held, and not whenever the garbage is collected.
    """
    closed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if found := re.search(rb"(?i)content-length: (\d+)", head):
            await reader.readexactly(int(found[1]))
        etag = b'ETag: "e"\r\n' if b"with-etag" in head else b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n" + etag + b"\r\n" + body)
        assert await reader.read() == b""
        closed.set()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = "http://{}:{}".format(*server.sockets[0].getsockname())
        async with AwsSession(region="us-east-1", endpoint_url=url, engine="aioboto3") as aws:
            with pytest.raises(AwsUnavailable) as held:
                await call(aws)
            async with asyncio.timeout(5):
                await closed.wait()

    assert held.value is not None


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_an_answer_that_holds_nothing_is_taken_or_our_error(portal: Portal, body: bytes) -> None:
    portal.body = body
    found = await outcomes(HOLDS_NOTHING, portal)

    errors = {name: value for name, value in found.items() if isinstance(value, Exception)}
    assert all(isinstance(error, AwsUnavailable) for error in errors.values()), errors
    assert found["ReceiveMessage"] == [] or "ReceiveMessage" in errors
    for unknown in ("SimulatePrincipalPolicy", "GetServiceQuota", "ListServiceQuotas"):
        assert found[unknown] is None


@pytest.mark.parametrize("name", ["PutObject", "PutObject, once", "PutObject, if"])
async def test_no_object_waits_for_leave_to_send_its_body(portal: Portal, name: str) -> None:
    """
    A proxy that never says `100 Continue` would keep a save for ever: aiohttp counts no time-out meanwhile.
    """
    portal.body = b""
    await outcomes({name: READS[name]}, portal)

    assert "Expect" not in portal.asked
    assert portal.asked["If-None-Match" if name.endswith("if") else "Content-Type"]


def test_every_operation_that_is_called_is_tried() -> None:
    """
    The tables above name each operation that the product calls, or the first call of a sequence.
    """
    follow = {
        "UpdateSchedule", "CreatePipeline", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload",
        "AbortMultipartUpload", "PutPublicAccessBlock", "GetPublicAccessBlock", "GetBucketPolicyStatus",
        "ListPipelineExecutionSteps", "DescribeProcessingJob",
        "HeadBucket", "GetBucketLocation",
    }  # fmt: skip
    called = {
        node.args[0].value
        for module in modules().values()
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("call", ".pages"))
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    tried = {name.partition(",")[0] for name in (*CREATES, *READS, *HOLDS_NOTHING)}

    assert called - follow == tried - follow - BY_NAME


def modules() -> dict[str, ast.Module]:
    folder = Path(inspect.getfile(vlm_runner.aws)).parent
    return {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in folder.glob("*.py")}


def test_only_one_module_touches_what_botocore_returned() -> None:
    """
    Clients are made in `session` and go into `AwsService` only, and what that returns cannot be subscripted.
    `reading` has one without an event loop, which one function asks.
    """
    (asks,) = (
        node
        for node in ast.walk(modules()["reading"])
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(part, ast.Attribute) and part.attr == "_client" for part in ast.walk(node))
    )
    uses = [
        ast.unparse(node)
        for node in ast.walk(modules()["session"])
        if isinstance(node, ast.Call) and "self._client" in {ast.unparse(argument) for argument in node.args}
    ]
    others = {
        name
        for name, module in modules().items()
        if name not in {"answers", "reading", "session"}
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute) and node.attr in {"_client", "get_paginator", "_members"}
    }

    assert len(uses) == 1
    assert uses[0].startswith("partial(")
    assert others == set()
    assert [ast.unparse(node) for node in ast.walk(asks) if isinstance(node, ast.Return)] == [
        "return AwsAnswer(title, answer)"
    ]
    assert not hasattr(AwsAnswer, "__getitem__")
    assert not hasattr(AwsAnswer, "get")


async def pages_of(*tokens: str | None) -> list[AwsAnswer]:
    class Paginator:
        async def paginate(self, **_: Any) -> AsyncIterator[Any]:
            for token in tokens:
                yield {"items": [], "nextToken": token}

    class Client:
        list_things: Any = None

        def get_paginator(self, _: str) -> Paginator:
            return Paginator()

    async def client() -> Client:
        return Client()

    return await taken(AwsService(client).pages("ListThings"))


async def test_pages_that_lead_in_a_circle_are_no_answer() -> None:
    assert len(await pages_of("a", "b", None)) == 3
    with pytest.raises(AwsUnavailable, match="a new page was expected"):
        await pages_of("a", "b", "a", "b", "a")


def test_what_aws_says_cannot_forge_a_line_and_is_cut() -> None:
    forged = 'bad data\n{"level": "info", "event": "run.succeeded"}\r\x1b[2J\u2028' + "x" * 10_000
    said = AwsAnswer("Get", {"failureMessage": forged}).message("failureMessage")

    assert said is not None
    assert len(said.splitlines()) == 1
    assert "\x1b" not in said
    assert len(said) == 2000


@pytest.mark.parametrize("value", ["", "In\nService", "x" * 3000, 7, None, ["InService"], {"a": 1}, True])
def test_a_status_is_a_short_word(value: object) -> None:
    with pytest.raises(AwsUnavailable, match="as status"):
        AwsAnswer("Get", {"status": value}).name("status")


@pytest.mark.parametrize("value", ["name", "arn:aws:bedrock", "http://x", "arn:aws:s3:::a b", 3])
def test_an_arn_is_one(value: object) -> None:
    with pytest.raises(UncertainCreate):
        AwsAnswer("Create", {"jobArn": value}, create=True).arn("jobArn")


@pytest.mark.parametrize("value", [-1, 2.5, 2**53 + 1, 1e300, True, "7", None])
def test_a_count_is_a_number_that_somebody_could_have_counted(value: object) -> None:
    with pytest.raises(AwsUnavailable):
        AwsAnswer("Converse", {"inputTokens": value}).count("inputTokens")
