#!/bin/bash
# Run what deploy/build-local.sh built as it runs on Fargate: uid 10001, read-only root, no capabilities.
#
#   deploy/try-local.sh              the demo, the health check, and SIGTERM while a job trains
#
# Needs root on Debian, and: apt-get install podman runc
set -euo pipefail
IMAGE=${IMAGE:-localhost/vlm-runner:local}
WORK=$(mktemp -d)
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay} CONTAINERS_CONF="$WORK/containers.conf"
cat > "$CONTAINERS_CONF" <<'CONF'
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
CONF
hardened=(--read-only --read-only-tmpfs=false --tmpfs /tmp:rw,size=512m,mode=1777,noexec,nosuid
  --cap-drop=all --security-opt no-new-privileges --no-healthcheck)

echo "== who it is, and what is not in it"
podman run --rm "${hardened[@]}" --network=none --entrypoint python "$IMAGE" -c '
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
podman run --rm "${hardened[@]}" --network=none "$IMAGE" demo --folder /tmp/demo --quiet | grep -E 'succeeded|still billing'

echo "== SIGTERM while a job trains, for which a sandbox at real speed is its AWS"
podman run -d --name "vlm-sandbox-$$" "${hardened[@]}" --network=host "$IMAGE" \
  sandbox serve --port 4600 --speed 1 > /dev/null
trap 'podman rm -f "vlm-sandbox-$$" "vlm-runner-$$" >/dev/null 2>&1 || true; rm -rf "$WORK"' EXIT
sample=$(podman run --rm "${hardened[@]}" --network=none --entrypoint python "$IMAGE" -c \
  'from vlm_runner.sample import sample_folder; print(sample_folder())')
cat > "$WORK/run.toml" <<SPEC
[dataset]
source = "$sample"
validation_split = "validation"
[model]
base = "amazon.nova-lite-v1:0:300k"
[training]
role_arn = "arn:aws:iam::123456789012:role/bedrock-sft"
[aws]
region = "us-east-1"
SPEC
chmod -R go+rX "$WORK"
podman run -d --name "vlm-runner-$$" "${hardened[@]}" --network=host -v "$WORK:/spec:ro" \
  -e AWS_ENDPOINT_URL=http://127.0.0.1:4600 -e AWS_ACCESS_KEY_ID=test -e AWS_SECRET_ACCESS_KEY=test \
  -e VLM_RUNNER_CHECKPOINT_URI=/tmp/store "$IMAGE" start /spec/run.toml --yes --run-id cats > /dev/null
for _ in $(seq 100); do
  podman logs "vlm-runner-$$" 2>&1 | grep -q job_submitted && break
  sleep 0.5
done
podman exec "vlm-runner-$$" vlm-runner health
began=$(date +%s)
podman stop --time 120 "vlm-runner-$$" > /dev/null
echo "exit $(podman inspect "vlm-runner-$$" --format '{{.State.ExitCode}}') after $(($(date +%s) - began)) s"
podman logs "vlm-runner-$$" 2>&1 | grep 'Go on with'
