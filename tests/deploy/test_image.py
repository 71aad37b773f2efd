"""
The image that deploy/build-local.sh built, as hardened as on Fargate, with its checkpoint in S3 as on ECS.

Skipped where it was not built; `deploy/try-local.sh` says how.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.containers import IN_TIME, Container, assert_left_resumable, logged, reach
from tests.e2e.laptop import Laptop
from vlm_runner.core.run import Phase

IMAGE = os.environ.get("VLM_RUNNER_TEST_IMAGE", "localhost/vlm-runner:local")
HARDENED = Path(__file__).parents[2] / "deploy" / "hardened.sh"
PHASES = [phase.value for phase in Phase if phase is not Phase.DONE]

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


def podman(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(HARDENED), *words], capture_output=True, text=True, timeout=60)


class Cloud(Laptop):
    """Its checkpoints are in S3."""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"VLM_RUNNER_CHECKPOINT_URI": "s3://state/checkpoints"}

    def checkpoint(self, run_id: str) -> Any:
        s3 = self.boto("s3")
        key = f"checkpoints/runs/{run_id}/state.json"
        if "Contents" not in s3.list_objects_v2(Bucket="state", Prefix=key):
            return None
        return json.load(s3.get_object(Bucket="state", Key=key)["Body"])


class FromImage(Container):
    """Sees the spec and the dataset, and the sandbox over the network; nothing else of this machine."""

    def __init__(self, laptop: Laptop, pages: Path, *words: str) -> None:
        self.name = f"vlm-runner-{uuid.uuid4().hex[:8]}"
        given = [
            f"--env={name}={value}"
            for name, value in laptop.environment.items()
            if name.startswith(("AWS_", "VLM_RUNNER_"))
        ]
        mounts = [f"--volume={laptop.home}:/spec:ro", f"--volume={pages}:/pages:ro"]
        options = ["--rm", "--name", self.name, "--network=host", "--env=AWS_REGION=us-east-1"]
        super().__init__(logged(laptop, [str(HARDENED), "run", *options, *given, *mounts, IMAGE, *words]))

    @property
    def pid(self) -> int:
        return int(podman("inspect", self.name, "--format", "{{.State.Pid}}").stdout)

    def end(self) -> None:
        podman("rm", "--force", self.name)
        self.outer.wait(10)


@pytest.fixture(scope="session")
def image() -> None:
    if shutil.which("podman") is None or podman("image", "exists", IMAGE).returncode != 0:
        pytest.skip(f"there is no image {IMAGE}: deploy/build-local.sh makes it")


@pytest.fixture
def cloud(image: None, slow_laptop: Laptop, pages: Path) -> Cloud:
    # Whoever is not root must be able to read what is mounted.
    for folder in (slow_laptop.home, pages):
        folder.chmod(0o755)
    cloud = Cloud(**{field.name: getattr(slow_laptop, field.name) for field in fields(slow_laptop)})
    cloud.boto("s3").create_bucket(Bucket="state")
    cloud.spec(Path("/pages"))
    return cloud


@pytest.mark.parametrize("phase", PHASES)
def test_the_image_stops_in_time_and_another_container_goes_on(
    cloud: Cloud, pages: Path, containers: list[Container], phase: str
) -> None:
    def start(*words: str) -> Container:
        containers.append(FromImage(cloud, pages, *words))
        return containers[-1]

    stopped = reach(cloud, phase, lambda: start("start", "/spec/run.toml", "--yes", "--run-id", "cats"))

    code, seconds = stopped.terminate()

    print(f"{phase}: exit {code} after {seconds:.1f} s")
    assert (code, seconds < IN_TIME) == (75, True), (cloud.home / "runner.log").read_text()
    assert_left_resumable(cloud, phase)
    assert start("resume", "cats").outer.wait(120) == 0, (cloud.home / "runner.log").read_text()
    cloud.assert_paid_once_and_over()


def test_the_image_says_that_it_is_well(cloud: Cloud, pages: Path, containers: list[Container]) -> None:
    container = FromImage(cloud, pages, "start", "/spec/run.toml", "--yes", "--run-id", "cats")
    containers.append(container)
    cloud.await_phase("cats", "training", container.outer)

    healthy = podman("exec", container.name, "vlm-runner", "health")

    assert healthy.returncode == 0, healthy.stderr


def test_process_1_of_the_image_is_the_runner_as_nobody_special(
    cloud: Cloud, pages: Path, containers: list[Container]
) -> None:
    container = FromImage(cloud, pages, "start", "/spec/run.toml", "--yes", "--run-id", "cats")
    containers.append(container)
    cloud.await_phase("cats", "training", container.outer)

    status = Path(f"/proc/{container.pid}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines())

    assert facts["NSpid"].split()[-1] == "1"
    assert facts["Uid"].split() == ["10001"] * 4
    assert facts["CapEff"] == "0000000000000000"
    assert facts["NoNewPrivs"] == "1"
    refused = podman("exec", container.name, "python", "-c", "open('/opt/x', 'w')")
    assert "Read-only file system" in refused.stderr


def test_a_volume_at_tmp_takes_its_mode_from_the_image_so_that_anybody_may_write(image: None) -> None:
    """
    On Fargate /tmp is such a volume, and no tmpfs; `container run` is `run` without the hardening's tmpfs.
    """
    bare = ("--rm", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--no-healthcheck")
    code = "import os; open('/tmp/x', 'w').close(); print(os.getuid(), oct(os.stat('/tmp').st_mode))"

    said = podman("container", "run", *bare, "--network=none", "--entrypoint=python", IMAGE, "-c", code)

    assert (said.returncode, said.stdout.strip()) == (0, "10001 0o41777"), said.stderr
