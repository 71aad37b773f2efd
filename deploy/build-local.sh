#!/bin/bash
# Build deploy/Dockerfile where there is no container engine and no image registry; then: deploy/try-local.sh
#
#   deploy/build-local.sh                       with the sandbox inside, for try-local.sh
#   BASE=0 deploy/build-local.sh                reuse the base image of an earlier call
#   EXTRAS= IMAGE=vlm-runner deploy/build-local.sh      as it goes to ECS, without the sandbox
#
# Needs root on Debian, and: apt-get install buildah runc debootstrap
# The base is a stand-in for python:3.12-slim-bookworm: Debian's minbase, and a CPython 3.12 of this machine
# (PYTHON_HOME). It proves the Dockerfile's steps, user, entrypoint, signals and health check, not Docker
# Hub's image itself.
set -euo pipefail
cd "$(dirname "$0")/.."
WORK=${WORK:-/var/tmp/vlm-runner-image}
BASE_NAME=docker.io/library/python:3.12-slim-bookworm
IMAGE=${IMAGE:-localhost/vlm-runner:local}
CERTS=/etc/ssl/certs/ca-certificates.crt
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=${STORAGE_DRIVER:-overlay}
mkdir -p "$WORK"

if [ "${BASE:-1}" = 1 ]; then
  mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null || true; } |
    awk '!seen && /^deb /{for(i=2;i<=NF;i++) if ($i ~ /^http/) {print $i; seen=1; break}} !seen && /^URIs:/{print $2; seen=1}')
  python_home=${PYTHON_HOME:-$(python3.12 -c 'import sys; print(sys.base_prefix)')}
  if [ ! -e "$WORK/rootfs/etc/debian_version" ]; then
    debootstrap --variant=minbase --include=ca-certificates,libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,zlib1g,libreadline8 \
      bookworm "$WORK/rootfs" "$mirror"
  fi
  cp -a "$python_home"/bin "$python_home"/lib "$WORK/rootfs/usr/local/"
  rm -rf "$WORK"/rootfs/usr/local/lib/python3.12/test
  find "$WORK"/rootfs/usr/local/lib/python3.12/site-packages -mindepth 1 -maxdepth 1 ! -name 'pip*' -exec rm -rf {} +
  chroot "$WORK/rootfs" ldconfig
  # The mirror of packages that this machine uses may have a certificate authority of its own.
  cp "$CERTS" "$WORK/rootfs$CERTS"
  chmod -R go+rX "$WORK/rootfs/usr/local"
  from=$(buildah from scratch)
  buildah add -q "$from" "$WORK/rootfs" /
  buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$from"
  buildah commit -q "$from" "$BASE_NAME"
  buildah rm "$from" >/dev/null
fi

# How this machine reaches its package index is no part of the image: pip's settings are mounted.
mounts=(--volume "$CERTS:$CERTS:ro")
for settings in /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf"; do
  if [ -e "$settings" ]; then mounts+=(--volume "$(realpath "$settings"):/etc/pip.conf:ro"); break; fi
done
for folder in ${PIP_FOLDERS:-}; do mounts+=(--volume "$folder:$folder:ro"); done
buildah bud --pull-never --format docker --file deploy/Dockerfile --build-arg EXTRAS="${EXTRAS-[sandbox]}" \
  "${mounts[@]}" --tag "$IMAGE" .
buildah images "$IMAGE"
