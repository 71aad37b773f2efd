"""What botocore knows of AWS's services is read faster, and is the same."""

from typing import Any

import aioboto3
import pytest
from botocore.exceptions import UnknownServiceError
from botocore.loaders import Loader, create_loader

from vlm_runner.aws.session import _loader, read_models_fast


@pytest.mark.parametrize("service", ["s3", "sts", "bedrock", "bedrock-runtime"])
@pytest.mark.parametrize("kind", ["service-2", "endpoint-rule-set-1", "paginators-1"])
def test_models_are_as_botocore_reads_them(service: str, kind: str) -> None:
    # As read: the first call of an operation changes it, in whatever test that was.
    _loader.cache_clear()
    session = aioboto3.Session(region_name="us-east-1")._session
    read_models_fast(session)
    ours = session.get_component("data_loader").load_service_model(service, kind)
    theirs = create_loader().load_service_model(service, kind)
    if (service, kind) == ("s3", "endpoint-rule-set-1"):
        del theirs["parameters"]["Key"]

    assert ours == theirs


async def test_the_services_are_those_that_botocore_knows() -> None:
    session = aioboto3.Session(region_name="us-east-1")._session
    read_models_fast(session)

    assert list(session.get_available_services()) == create_loader().list_available_services("service-2")
    with pytest.raises(UnknownServiceError, match=r"'s4'.*bedrock"):
        await session.get_service_model("s4")


def test_one_service_is_found_without_a_look_at_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def look(_: Loader, kind: str) -> list[str]:
        looked.append(kind)
        return ["s3"]

    monkeypatch.setattr(Loader, "list_available_services", look)
    _loader.cache_clear()
    session = aioboto3.Session(region_name="us-east-1")._session
    read_models_fast(session)
    session.get_component("data_loader").load_service_model("s3", "paginators-1")
    _loader.cache_clear()

    assert looked == []


async def test_the_key_of_an_object_does_not_decide_where_its_bucket_is() -> None:
    """
    Or else each PUT would take a millisecond to find out.
    """
    session = aioboto3.Session(aws_access_key_id="AK", aws_secret_access_key="SK", region_name="us-east-1")
    read_models_fast(session._session)
    client: Any
    async with session.client("s3") as client:
        counted = client._ruleset_resolver._provider.resolve_endpoint.cache_info
        before = counted().misses
        urls = [
            await client.generate_presigned_url("put_object", {"Bucket": "bucket", "Key": key})
            for key in ("a", "b", "c")
        ]
        misses = counted().misses - before

    assert [url.partition("?")[0].rpartition("/")[2] for url in urls] == ["a", "b", "c"]
    assert misses == 1


def test_a_second_session_reads_no_model_again() -> None:
    """
    Programs that open many sessions would parse megabytes for each.
    """
    first, second = (aioboto3.Session(region_name="us-east-1")._session for _ in range(2))
    read_models_fast(first)
    read_models_fast(second)

    models = [
        one.get_component("data_loader").load_service_model("s3", "service-2") for one in (first, second)
    ]
    assert models[0] is models[1]


async def test_what_a_session_changes_in_a_model_changes_no_request_of_the_next() -> None:
    """
    An operation's first call changes its model, and the next session begins with the changed one.
    """
    _loader.cache_clear()
    urls = []
    for _ in range(3):
        session = aioboto3.Session(
            aws_access_key_id="AK", aws_secret_access_key="SK", region_name="us-east-1"
        )
        read_models_fast(session._session)
        client: Any
        async with session.client("s3") as client:
            url = await client.generate_presigned_url("put_object", {"Bucket": "bucket", "Key": "a/b"})
        urls.append(url.partition("?")[0])

    assert urls == ["https://bucket.s3.amazonaws.com/a/b"] * 3
