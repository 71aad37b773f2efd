#!/bin/bash
# podman, with containers as they run on Fargate: read-only root, no capabilities, nothing to write to but /tmp.
#
#   deploy/hardened.sh run IMAGE [WORDS]         `podman run`, hardened; other commands as they are
#
# Needs root on Debian, and: apt-get install podman runc
set -euo pipefail
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay} CONTAINERS_CONF="$(dirname "${BASH_SOURCE[0]}")/containers.conf"
command=$1
shift
if [ "$command" = run ]; then
  set -- --read-only --read-only-tmpfs=false --tmpfs /tmp:rw,size=512m,mode=1777,noexec,nosuid \
    --cap-drop=all --security-opt no-new-privileges --no-healthcheck "$@"
fi
exec podman "$command" "$@"
