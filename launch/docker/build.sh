#!/usr/bin/env bash
# Builds the image:  launch/docker/build.sh cpu|cuda|tpu [TAG]   (--dry_run, anywhere, prints the command)
# Then: docker run --rm [--gpus=all] -v DIR:/shared TAG python -m itm_jax.main --config=configs/X.py --workdir=/shared/run
# The same command continues a run that was stopped.
set -euo pipefail

dry_run=
words=()
for word in "$@"; do
  case $word in
    --dry_run | --dry-run) dry_run=1 ;;
    --dry*)
      echo "error: launch/docker/build.sh: $word: not understood; say --dry_run" >&2
      exit 2
      ;;
    *) words+=("$word") ;;
  esac
done
set -- ${words[@]+"${words[@]}"}
kind=${1:-}
case $kind in
  cpu) extra= ;;
  cuda | tpu) extra=$kind ;;
  *)
    echo "error: launch/docker/build.sh: ${kind:-no kind}: say cpu, cuda or tpu" >&2
    exit 2
    ;;
esac
case ${2:-} in
  -*)
    echo "error: launch/docker/build.sh: $2: not understood; say a kind and a tag" >&2
    exit 2
    ;;
esac
if [ $# -gt 2 ]; then
  echo "error: launch/docker/build.sh: $3: not understood; say a kind and a tag" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
command=(docker build --build-arg "EXTRA=$extra" -t "${2:-itm_jax:$kind}" -f "$here/Dockerfile" "$here/../..")
if [ -n "$dry_run" ]; then
  printf '%q ' "${command[@]}"
  printf '\n'
else
  "${command[@]}"
fi
