"""What the tests of this folder work with: real boto3 clients over real HTTP, and data that is fine."""

import io
import json
import urllib.request
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from PIL import Image

from vlm_runner.sandbox import Sandbox

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/bedrock-sft"
BUCKET = "vlm-accessibility"
NOVA = "amazon.nova-lite-v1:0:300k"
LLAMA = "meta.llama3-2-11b-instruct-v1:0:128k"


def png(shade: int, side: int = 32, form: str = "PNG") -> bytes:
    image = Image.new("RGB", (side, side), (shade, shade, shade))
    image.putpixel((0, 0), (255 - shade, shade // 2, 7))
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def record(index: int, bucket: str = BUCKET) -> dict[str, Any]:
    uri = f"s3://{bucket}/images/train/{index:03d}.png"
    location = {"s3Location": {"uri": uri, "bucketOwner": ACCOUNT}}
    return {
        "schemaVersion": "bedrock-conversation-2024",
        "system": [{"text": "You judge accessibility."}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": f"Judge page {index}."},
                    {"image": {"format": "png", "source": location}},
                ],
            },
            {"role": "assistant", "content": [{"text": f"<rationale>Finding number {index}.</rationale>"}]},
        ],
    }


ADMINISTRATOR = ("AKIDEXAMPLE", "secret")


@cache
def client(url: str, service: str, region: str, attempts: int, keys: tuple[str, str]) -> Any:
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        config=Config(retries={"mode": "standard", "total_max_attempts": attempts}, max_pool_connections=64),
    )


class Desk:
    """What a test needs at hand: clients, the clock, and a dataset that is fine."""

    def __init__(self, sandbox: Sandbox, region: str = "us-east-1") -> None:
        self.sandbox, self.region = sandbox, region
        self.bedrock = self.client("bedrock")
        self.runtime = self.client("bedrock-runtime")
        self.s3 = self.client("s3")

    def client(
        self,
        service: str,
        region: str | None = None,
        attempts: int = 1,
        keys: tuple[str, str] = ADMINISTRATOR,
    ) -> Any:
        return client(self.sandbox.url, service, region or self.region, attempts, keys)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.sandbox.url}/_sandbox/{path}", data, method=method)
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def advance(self, seconds: float) -> None:
        self.call("POST", "clock", {"advance_seconds": seconds})

    def change_scenario(self, **changes: Any) -> None:
        self.call("POST", "scenario", changes)

    def fault(self, **fault: Any) -> None:
        self.call("POST", "faults", [fault])

    def make_bucket(self, name: str = BUCKET) -> None:
        place = {} if self.region == "us-east-1" else {"LocationConstraint": self.region}
        self.s3.create_bucket(Bucket=name, **({"CreateBucketConfiguration": place} if place else {}))

    def stage(self, count: int = 8, lines: list[Any] | None = None, bucket: str = BUCKET) -> None:
        """Images and a training file of `count` good records, or of `lines` as given."""
        self.make_bucket(bucket)
        for index in range(count):
            self.s3.put_object(
                Bucket=bucket, Key=f"images/train/{index:03d}.png", Body=png(index * 251 // max(count, 1))
            )
        rows = [record(index, bucket) for index in range(count)] if lines is None else lines
        text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
        self.s3.put_object(Bucket=bucket, Key="data/train.jsonl", Body=text.encode())

    def job(self, **changes: Any) -> dict[str, Any]:
        return {
            "jobName": "cats",
            "customModelName": "cats-model",
            "roleArn": ROLE,
            "clientRequestToken": "token-1",
            "baseModelIdentifier": NOVA,
            "trainingDataConfig": {"s3Uri": f"s3://{BUCKET}/data/train.jsonl"},
            "outputDataConfig": {"s3Uri": f"s3://{BUCKET}/output"},
            "hyperParameters": {"epochCount": "2"},
            **changes,
        }

    def finished_model(self, **changes: Any) -> str:
        self.stage(int(changes.pop("count", 8)))
        self.bedrock.create_model_customization_job(**self.job(**changes))
        self.advance(6 * 3600)
        return str(self.bedrock.get_custom_model(modelIdentifier="cats-model")["modelArn"])

    def finished_job(self) -> dict[str, Any]:
        self.bedrock.create_model_customization_job(**self.job())
        self.advance(6 * 3600)
        found: dict[str, Any] = self.bedrock.get_model_customization_job(jobIdentifier="cats")
        return found
