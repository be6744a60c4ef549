#!/usr/bin/env bash
# A run on a slice of Cloud TPU VMs up to v6e, from nothing to results:
#   launch/tpu_vm.sh ACTION [flags of itm_jax.main for `run` and `all`]
#   ACTION: create, install, run, fetch, delete, or all (the first four, one after the other). With --dry_run, anywhere, the
#   commands are printed and nothing is created.
# Google keeps this way of making slices (the Cloud TPU API) with fixes only, and it has no TPU7x. launch/gke has what comes next.
# Settings, as variables: NAME, ZONE, TYPE (v5litepod-8), VERSION (of the software; follows from TYPE), BUCKET (a Cloud Storage
# bucket, mounted on all workers at ~/bucket: data, workdir and caches live there), RUN (the run's name in it), SPOT=1 for
# preemptible machines.
#   NAME=itm ZONE=us-west4-a BUCKET=my-bucket RUN=afa launch/tpu_vm.sh all --config=configs/afa_f30k.py \
#     --config.data.dir=bucket/f30k
# The image must have gcsfuse, and an apt that has python3.11 (Ubuntu 22.04). Not run on a TPU by us: the dry run alone.
# A preempted slice is gone with its disks; the workdir in the bucket is not: the same command makes a new one and continues.
set -euo pipefail

dry_run=
words=()
for word in "$@"; do
  case $word in
    --dry_run | --dry-run) dry_run=1 ;;
    --dry*)
      echo "error: launch/tpu_vm.sh: $word: not understood; say --dry_run" >&2
      exit 2
      ;;
    *) words+=("$word") ;;
  esac
done
set -- ${words[@]+"${words[@]}"}
action=${1:-}
[ $# -gt 0 ] && shift
case $action in
  create | install | run | fetch | delete | all) ;;
  *)
    echo "error: launch/tpu_vm.sh: ${action:-no action}: say one of create, install, run, fetch, delete, all" >&2
    exit 2
    ;;
esac
for flag in "$@"; do
  case $flag in
    --*=*) ;;
    *)
      echo "error: launch/tpu_vm.sh: $flag: not understood; flags have the form --name=value" >&2
      exit 2
      ;;
  esac
done
if [ $# -gt 0 ] && [ "$action" != run ] && [ "$action" != all ]; then
  echo "error: launch/tpu_vm.sh: $1: $action takes no flags" >&2
  exit 2
fi
for setting in NAME ZONE BUCKET RUN; do
  if [ -z "${!setting:-}" ]; then
    echo "error: launch/tpu_vm.sh: $setting is not set; NAME=itm ZONE=us-west4-a BUCKET=my-bucket RUN=afa launch/tpu_vm.sh ..." >&2
    exit 2
  fi
done
if [ $# -eq 0 ] && { [ "$action" = run ] || [ "$action" = all ]; }; then
  echo "error: launch/tpu_vm.sh: no flags; say what to run, launch/tpu_vm.sh $action --config=configs/afa_f30k.py ..." >&2
  exit 2
fi
type=${TYPE:-v5litepod-8}
case $type in
  tpu7* | v7* | tpu-v7* | tpu-7*)
    echo "error: launch/tpu_vm.sh: TYPE=$type: Google's Cloud TPU API has no TPU7x; use launch/gke/run.sh with TPU=tpu7x" >&2
    exit 2
    ;;
  v5litepod-*) version=v2-alpha-tpuv5-lite ;;
  v5p-*) version=v2-alpha-tpuv5 ;;
  v6e-*) version=v2-alpha-tpuv6e ;;
  v2-* | v3-* | v4-*) version="tpu-ubuntu2204-base" ;;
  *)
    if [ -z "${VERSION:-}" ]; then
      echo "error: launch/tpu_vm.sh: TYPE=$type: not known here; set VERSION too, or take v5litepod-8, v5p-8, v6e-8 or a larger one" >&2
      exit 2
    fi
    version=$VERSION
    ;;
esac
tpu=(gcloud compute tpus tpu-vm)
where=("$NAME" "--zone=$ZONE")
root=$(cd "$(dirname "$0")/.." && pwd)

# Runs a command, or prints it.
do_it() {
  if [ -n "$dry_run" ]; then
    printf '%q ' "$@"
    printf '\n'
  else
    "$@"
  fi
}

on_all() { do_it "${tpu[@]}" ssh "${where[@]}" --worker=all "--command=$1"; }

create() {
  local state=
  if [ -z "$dry_run" ]; then state=$("${tpu[@]}" describe "${where[@]}" '--format=value(state)' 2> /dev/null || true); fi
  case $state in
    READY) return ;;
    PREEMPTED | TERMINATED) do_it "${tpu[@]}" delete "${where[@]}" --quiet ;;
  esac
  local spot=()
  [ -z "${SPOT:-}" ] || spot=(--spot)
  do_it "${tpu[@]}" create "${where[@]}" "--accelerator-type=$type" "--version=${VERSION:-$version}" \
    ${spot[@]+"${spot[@]}"}
}

install() {
  do_it tar -C "$root" --exclude=.git --exclude=.venv --exclude=runs -czf /tmp/itm_jax.tar.gz .
  do_it "${tpu[@]}" scp /tmp/itm_jax.tar.gz "$NAME:itm_jax.tar.gz" "--zone=$ZONE" --worker=all
  on_all "mkdir -p itm_jax bucket && tar -C itm_jax -xzf itm_jax.tar.gz && sudo apt-get update -qq && sudo apt-get install -y -qq python3.11-venv && python3.11 -m venv venv && venv/bin/pip install --quiet -e './itm_jax[tpu,buckets]'"
  # Checkpoints get their names by renaming their directories, which a flat bucket allows up to a limit.
  on_all "mountpoint -q bucket || gcsfuse --implicit-dirs --rename-dir-limit=200000 $BUCKET bucket"
}

run() {
  local flags
  flags=$(printf ' %q' "$@")
  on_all "cd itm_jax && ln -sfn ../bucket bucket && ../venv/bin/python -m itm_jax.main --workdir=bucket/runs/$RUN$flags --config.data.cache_dir=bucket/cache"
}

fetch() {
  do_it mkdir -p "runs/$RUN"
  do_it gcloud storage cp "gs://$BUCKET/runs/$RUN/*.json*" "gs://$BUCKET/runs/$RUN/*.npz" "runs/$RUN/"
}

case $action in
  create | install | fetch) "$action" ;;
  delete) do_it "${tpu[@]}" delete "${where[@]}" --quiet ;;
  run) run "$@" ;;
  all)
    create
    install
    run "$@"
    fetch
    echo "the slice is still there: launch/tpu_vm.sh delete"
    ;;
esac
