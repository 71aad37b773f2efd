"""A finished run's model over HTTP: served again, asked, and deleted with all that was its own."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING

from .laptop import until

if TYPE_CHECKING:
    from pathlib import Path

    from .laptop import Laptop


def test_a_model_is_served_again_asked_and_deleted(laptop: Laptop, pages: Path) -> None:
    started = laptop.here("start", str(laptop.spec(pages)), "--yes", "-q", "--run-id", "cats", "--no-doctor")
    assert started.returncode == 0, started.stderr
    compare = ("--rows", "3", "--compare-with", "cats")
    strange = laptop.here("serve", "cats", "--rows", "3", "--compare-with", "dogs", "--yes")
    served = laptop.here("serve", "cats", *compare, "--yes", "-q", "--json")
    assert served.returncode == 0, served.stderr
    idle = laptop.here("ask", "cats", "--row", "0")
    dry = laptop.here("delete", "cats")
    listed = json.loads(laptop.here("models", "--json", "--region", "us-east-1").stdout)

    assert strange.returncode == 102
    assert [one["serves"] for one in json.loads(served.stdout)] == ["cats", "cats"]
    compared = (laptop.home / "cats-serve-against-cats-serve-2.html").read_text()
    assert {"cats-serve: tuned", "cats-serve-2: tuned"} <= set(re.findall(r"[\w-]+: tuned", compared))
    ledger = laptop.ask("ledger")["entries"]
    rented = {"custom_model_deployment", "provisioned_throughput"}
    endpoints = [one for one in ledger if one["kind"] in rented]
    assert len([one for one in ledger if one["kind"] == "customization_job"]) == 1
    assert len(endpoints) == 3
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


def test_a_serving_that_is_killed_is_continued_and_ctrl_c_ends_it(laptop: Laptop, pages: Path) -> None:
    """kill -9, the same command again, and an interrupt: one endpoint, which the interrupt deletes."""
    trained = laptop.spec(pages, serving='mode = "none"')
    assert (
        laptop.here("start", str(trained), "--yes", "-q", "--run-id", "cats", "--no-doctor").returncode == 0
    )
    serve = ("serve", "cats", "--yes")
    first = laptop.cli_in_background(*serve)
    laptop.await_phase("cats-serve", "serving", first)
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    before = laptop.checkpoint("cats-serve")["epoch"]

    second = laptop.cli_in_background(*serve)
    until(lambda: laptop.checkpoint("cats-serve")["epoch"] > before, "the second to take over")
    (alive,) = laptop.paid("custom_model_deployment")
    second.send_signal(signal.SIGINT)
    code = second.wait(30)

    assert alive["ended_at"] is None
    assert code == 0
    assert "Ending the serving" in (laptop.home / "runner.log").read_text()
    (deployment,) = laptop.paid("custom_model_deployment")
    assert deployment["ended_at"] is not None
    run = laptop.checkpoint("cats-serve")["run"]
    assert (run["phase"], run["serving_end"]["reason"]) == ("done", "Interrupted.")
    assert len(laptop.paid("customization_job")) == 1
