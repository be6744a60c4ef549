#!/usr/bin/env bash
# Builds the image:  launch/docker/build.sh [--dry_run] cpu|cuda|tpu [TAG]
# Then: docker run --rm [--gpus=all] -v DIR:/shared TAG python -m itm_jax.main --config=configs/X.py --workdir=/shared/run
# The same command continues a run that was stopped.
set -euo pipefail

dry_run=
[ "${1:-}" = --dry_run ] && { dry_run=1; shift; }
kind=${1:-}
case $kind in
  cpu) extra= ;;
  cuda | tpu) extra=$kind ;;
  *)
    echo "error: launch/docker/build.sh: ${kind:-no kind}: say cpu, cuda or tpu" >&2
    exit 2
    ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
command=(docker build --build-arg "EXTRA=$extra" -t "${2:-itm_jax:$kind}" -f "$here/Dockerfile" "$here/../..")
if [ -n "$dry_run" ]; then
  printf '%q ' "${command[@]}"
  printf '\n'
else
  "${command[@]}"
fi
