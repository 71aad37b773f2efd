"""
The only importer of aioboto3: clients, retries, time-outs, and the fence before each request that pays.
"""

from __future__ import annotations

import contextlib
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import anyio

from vlm_runner.aws.account import AwsAccount
from vlm_runner.aws.answers import AwsService
from vlm_runner.aws.bedrock import BedrockControl
from vlm_runner.aws.connections import http_session
from vlm_runner.aws.cost_explorer import CostExplorer
from vlm_runner.aws.credentials import (
    answering,
    ask_on_terminals_only,
    check_authorities,
    end_what_is_given_up,
    fresh_credentials,
    log_as_botocore,
)
from vlm_runner.aws.ecs import Ecs
from vlm_runner.aws.errors import KINDS, credentials_translated
from vlm_runner.aws.exchange import listen
from vlm_runner.aws.fence import check_fence
from vlm_runner.aws.inspection import AwsInspection
from vlm_runner.aws.leftovers import AwsLeftovers
from vlm_runner.aws.limiter import limiter_of
from vlm_runner.aws.notifications import AwsNotifier
from vlm_runner.aws.objects import S3Objects
from vlm_runner.aws.objects_obstore import ObstoreObjects
from vlm_runner.aws.price_list import AwsPriceList
from vlm_runner.aws.profiles import check_endpoint, check_region, endpoint_of, profile_exists
from vlm_runner.aws.queue import SqsQueue
from vlm_runner.aws.runtime import BedrockRuntime
from vlm_runner.aws.sagemaker import SageMaker
from vlm_runner.aws.scheduler import EventBridgeScheduler
from vlm_runner.errors import Throttled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from vlm_runner.aws.exchange import RawExchange
    from vlm_runner.aws.objects_obstore import Engine
    from vlm_runner.aws.ports import Encryption, Objects
    from vlm_runner.aws.queue import Queue

PAYING: Final = (
    "CreateModelCustomizationJob",
    "CreateProvisionedModelThroughput",
    "CreateCustomModelDeployment",
)

LOOKING: Final = ("Get", "List")
"""Operations that begin so only look; all others rent, stop, delete or tag, and go before them."""

Use = Literal["read", "pay", "bulk", "call"]
USES: Final[Mapping[Use, tuple[int, float, float]]] = {
    "read": (5, 10, 60),
    "pay": (1, 3, 20),
    "bulk": (1, 10, 60),
    "call": (1, 10, 60),
}
"""
Attempts, and seconds to connect and to wait for an answer.

`pay` does not repeat, since it does not ask what became of the first; `bulk` and `call` because their callers
repeat: a throttled call of a model must be seen at once, for its endpoint bills while botocore would pause.
"""

HOMES: Final = {"pricing": "us-east-1", "ce": "us-east-1"}
"""Services that have an endpoint in a few regions only, whatever region is worked in."""

INVOKE_SECONDS = 3600
"""Bedrock's inference can take up to an hour (Nova user guide: set the read timeout to 3600 seconds)."""


class AwsSession:
    """Clients for one account and region, each made on first use and shared by all runs."""

    def __init__(
        self,
        *,
        region: str,
        profile: str | None = None,
        endpoint_url: str | None = None,
        connections: int = 64,
        engine: Engine = "auto",
        app_id: str = "vlm-runner",
        heard: Callable[[RawExchange], None] | None = None,
    ) -> None:
        """`heard` is called with each exchange, but for the uploads of obstore, which no botocore sends."""
        self._region = region
        self._profile = profile
        self._endpoint_url = endpoint_url
        self._connections = connections
        self._engine = engine
        self._app_id = app_id
        self._heard = heard
        self._open = contextlib.AsyncExitStack()
        self._clients: dict[str, Any] = {}
        self._making = anyio.Lock()
        self._session: Any = None
        self.account = AwsAccount(self._service("sts"), self._service("s3"))
        self.bedrock = BedrockControl(self._service("bedrock"), self._service("bedrock", "pay"))
        self.runtime = BedrockRuntime(
            self._service("bedrock-runtime", "call"), self._service("bedrock-runtime")
        )
        self.scheduler = EventBridgeScheduler(self._service("scheduler"))
        self.prices = AwsPriceList(self._service("pricing"))
        self.inspection = AwsInspection(
            *(self._service(service) for service in ("iam", "service-quotas", "s3", "bedrock", "sts"))
        )

    @property
    def region(self) -> str:
        return self._region

    def objects(self, bucket: str, *, owner: str | None, encryption: Encryption | None = None) -> Objects:
        client, once = self._service("s3"), self._service("s3", "bulk")
        if self._engine == "aioboto3":
            return S3Objects(client, once, bucket, owner, encryption)
        return ObstoreObjects(
            client, once, self._core_session, bucket, owner, engine=self._engine, encryption=encryption
        )

    def state_objects(
        self, bucket: str, *, owner: str | None = None, encryption: Encryption | None = None
    ) -> Objects:
        """For checkpoints: nothing is repeated below the compare-and-swap."""
        once = self._service("s3", "pay")
        return S3Objects(once, once, bucket, owner, encryption)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    def ecs(self) -> Ecs:
        return Ecs(self._service("cloudformation"), self._service("ecs"))

    def cost_explorer(self) -> CostExplorer:
        return CostExplorer(self._service("ce"))

    def sagemaker(self) -> SageMaker:
        return SageMaker(self._service("sagemaker"))

    def queue(self, url: str) -> Queue:
        return SqsQueue(self._service("sqs"), url)

    def leftovers(self) -> AwsLeftovers:
        return AwsLeftovers(self.bedrock, *map(self._service, ("bedrock", "scheduler", "sqs")))

    def service(self, name: str) -> AwsService:
        """Any service, by botocore's name: each request is sent once."""
        return self._service(name, "pay")

    def announcer(self) -> AwsNotifier:
        return AwsNotifier(self._service("events"), self._service("sns"))

    def _service(self, service: str, use: Use = "read") -> AwsService:
        return AwsService(partial(self._client, service, use))

    async def _client(self, service: str, use: Use = "read") -> Any:
        name = f"{service}/{use}"
        async with self._making:
            if name not in self._clients:
                with credentials_translated(f"opening {service}"), answering():
                    self._clients[name] = await self._make(service, use)
        # Refreshed here and not by the request, where a helper's fault would look like an answer's.
        await fresh_credentials(self._session._session)  # noqa: SLF001 - see `_core_session`
        return self._clients[name]

    async def _core_session(self) -> Any:
        """The botocore session under aioboto3's: credentials and configuration."""
        await self._client("s3")
        return self._session._session  # noqa: SLF001 - boto3 offers no other way to its botocore session

    async def _make(self, service: str, use: Use) -> Any:
        import aioboto3  # noqa: PLC0415 - 0.7 s of CPU that --help and status need not pay
        from aiobotocore.config import AioConfig  # noqa: PLC0415
        from botocore.handlers import add_expect_header  # noqa: PLC0415
        from botocore.useragent import UserAgentString  # noqa: PLC0415

        if self._session is None:
            check_region(self._region)
            log_as_botocore()
            with profile_exists():
                opened = aioboto3.Session(profile_name=self._profile, region_name=self._region)
                core = opened._session  # noqa: SLF001 - see `_core_session`
                read_models_fast(core)
                ask_on_terminals_only(core)
                end_what_is_given_up(core)
                check_authorities(core)
                self._session = opened
        check_endpoint(self._endpoint_url or endpoint_of(self._session._session, service))  # noqa: SLF001
        attempts, connect, read = USES[use]
        options: dict[str, Any] = {
            "http_session_cls": http_session(),
            "retries": {"mode": "standard", "total_max_attempts": attempts},
            "connect_timeout": connect,
            "read_timeout": INVOKE_SECONDS if service == "bedrock-runtime" else read,
            "max_pool_connections": self._connections,
            "tcp_keepalive": True,
            "user_agent_appid": self._app_id,
        }
        config = AioConfig(**options)
        if use == "bulk":
            # botocore builds it anew for each request, twice.
            agent = UserAgentString.from_environment().with_client_config(config).to_string()
            config = AioConfig(**options, user_agent=agent)
        client = await self._open.enter_async_context(
            self._session.client(
                service,
                region_name=HOMES.get(service, self._region),
                endpoint_url=self._endpoint_url,
                config=config,
            )
        )
        if service == "bedrock":
            self._pace(client.meta.events)
        if service == "s3":
            # Waiting for `100 Continue` before each body is a round trip, for a refusal that is rare; and a
            # proxy that never sends it keeps aiohttp waiting for ever, whatever the time-outs.
            client.meta.events.unregister("before-call.s3", add_expect_header)
        if self._heard is not None:
            listen(client.meta.events, self._heard)
        for operation in PAYING:
            client.meta.events.register(f"before-send.bedrock.{operation}", _check)
        return client

    def _pace(self, events: Any) -> None:
        """Every request waits for its turn, pages and repeats too: before signing, since signatures age."""
        limiter = limiter_of(self._profile, self._endpoint_url, self._region)

        async def wait(*, operation_name: str, **_: Any) -> None:
            await limiter.take(urgent=not operation_name.startswith(LOOKING))

        def heed(*, parsed_response: Mapping[str, Any] | None, **_: Any) -> None:
            error = (parsed_response or {}).get("Error", {})
            if KINDS.get(str(error.get("Code"))) is Throttled:
                limiter.refused()

        events.register_first("request-created.bedrock", wait)
        events.register("response-received.bedrock", heed)


def read_models_fast(session: Any) -> None:
    """
    Read botocore's models with orjson, once a process, and make S3's endpoint independent of the key.

    Measured: 0.15 s until the first PUT instead of 0.35, with the two other changes to the `bulk` client
    3.7 ms a PUT instead of 5.9 (benchmarks/RESULTS.md), and half the CPU of opening a second session. Not to
    look into the folders of all 400 services, three times, saves 27 ms of CPU a process.
    """
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))


@cache
def _loader(search_path: str | None) -> Any:
    """
    Shared by the sessions of a process, as botocore shares it among the clients of one.

    It is not left as it was read: at an operation's first call botocore's S3 handlers take the bucket out of
    its path (`remove_bucket_from_url_paths_from_model`). Doing so again changes nothing.
    """
    import orjson  # noqa: PLC0415 - see `AwsSession._make`
    from botocore.loaders import JSONFileLoader, create_loader  # noqa: PLC0415

    from vlm_runner.aws.services import Services  # noqa: PLC0415

    class Files(JSONFileLoader):
        def _load_file(self, full_path: str, open_method: Callable[..., Any]) -> Any:
            if not Path(full_path).is_file():
                return None
            with open_method(full_path, "rb") as file:
                text = file.read()
            model = orjson.loads(text)
            if "/endpoint-rule-set" in full_path and b'"ref":"Key"' not in text:
                # No rule uses it, but with it botocore evaluates the rules again for each key: 1 ms a PUT.
                model["parameters"].pop("Key", None)
            return model

    loader: Any = create_loader(search_path)
    loader.file_loader = Files()
    loader.list_available_services = partial(Services, loader, loader.list_available_services)
    return loader


def _check(**_: Any) -> None:
    check_fence()
