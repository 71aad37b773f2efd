"""A finished run's model over HTTP: served again, asked, and deleted with all that was its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .laptop import Laptop


def test_a_model_is_served_again_asked_and_deleted(laptop: Laptop, pages: Path) -> None:
    started = laptop.here("start", str(laptop.spec(pages)), "--yes", "-q", "--run-id", "cats", "--no-doctor")
    assert started.returncode == 0, started.stderr
    served = laptop.here("serve", "cats", "--rows", "3", "--yes", "-q", "--json")
    assert served.returncode == 0, served.stderr
    idle = laptop.here("ask", "cats", "--row", "0")
    dry = laptop.here("delete", "cats")
    listed = json.loads(laptop.here("models", "--json", "--region", "us-east-1").stdout)

    assert json.loads(served.stdout)["serves"] == "cats"
    ledger = laptop.ask("ledger")["entries"]
    rented = {"custom_model_deployment", "provisioned_throughput"}
    endpoints = [one for one in ledger if one["kind"] in rented]
    assert len([one for one in ledger if one["kind"] == "customization_job"]) == 1
    assert len(endpoints) == 2
    assert all(one["ended_at"] is not None for one in endpoints)
    assert idle.returncode == 102
    assert "vlm-runner serve cats --for 1h" in idle.stderr
    assert "Nothing was deleted" in dry.stderr
    assert [one["run_id"] for one in listed] == ["cats"]
    assert laptop.here("delete", "cats", "--yes").returncode == 0
    s3 = laptop.boto("s3")
    keys = [
        found["Key"]
        for bucket in s3.list_buckets()["Buckets"]
        for found in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", [])
    ]
    assert keys == []
    assert json.loads(laptop.here("models", "--json", "--region", "us-east-1").stdout) == []
    assert json.loads(laptop.here("list", "--json").stdout) == []
