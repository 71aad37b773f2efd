#!/bin/bash
# Run what deploy/build-local.sh built as it runs on Fargate: uid 10001, read-only root, no capabilities.
#
#   deploy/try-local.sh              what is in it, the demo, and SIGTERM to process 1 in every phase
#
# Needs root on Debian, `make install`, and: apt-get install podman runc
set -euo pipefail
cd "$(dirname "$0")/.."
export VLM_RUNNER_TEST_IMAGE=${IMAGE:-localhost/vlm-runner:local}

echo "== who it is, and what is not in it"
deploy/hardened.sh run --rm --network=none --entrypoint python "$VLM_RUNNER_TEST_IMAGE" -c '
import importlib.util, os, shutil
assert os.getuid() == 10001 and os.getpid() == 1
assert not any(shutil.which(tool) for tool in ("gcc", "cc", "make", "pip", "pip3", "uv", "curl"))
assert importlib.util.find_spec("pip") is None
try:
    open("/opt/x", "w")
except OSError as error:
    print("uid 10001, no compiler, no pip;", error)
'

echo "== the demo, without a network"
deploy/hardened.sh run --rm --network=none "$VLM_RUNNER_TEST_IMAGE" demo --folder /tmp/demo --quiet |
  grep -E 'succeeded|still billing'

echo "== SIGTERM in every phase: exit 75 in time, the claim given up, and resumed to one job and one throughput"
.venv/bin/python -m pytest -q -m long -s tests/deploy/test_image.py
