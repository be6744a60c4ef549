#!/usr/bin/env bash
# One run by several pods of a Kubernetes cluster (launch/gke/job.yaml):
#   IMAGE=... CLAIM=... launch/gke/run.sh --config=configs/X.py --workdir=/shared/runs/X [any flag of itm_jax.main]
# Region features of a folder of images, each pod a part of them (launch/gke/extract.yaml); with PODS=1 what is missing, and then the whole:
#   IMAGE=... CLAIM=... launch/gke/run.sh extract --images=/shared/DIR --captions=/shared/FILE --out=/shared/DIR
# Settings, as variables: IMAGE (of launch/docker), CLAIM (a ReadWriteMany volume claim, mounted at /shared), NAME (itm-jax),
# PODS (2), GPUS of each pod (8). --dry_run, anywhere, prints the manifest. Given again after a stop, the same command continues.
set -euo pipefail

dry_run=
words=()
for word in "$@"; do
  case $word in
    --dry_run | --dry-run) dry_run=1 ;;
    --dry*)
      echo "error: launch/gke/run.sh: $word: not understood; say --dry_run" >&2
      exit 2
      ;;
    *) words+=("$word") ;;
  esac
done
set -- ${words[@]+"${words[@]}"}
manifest=job.yaml name=${NAME:-itm-jax} example="--config=... --workdir=/shared/..."
if [ "${1:-}" = extract ]; then
  manifest=extract.yaml name=${NAME:-itm-jax-extract} example="extract --images=/shared/... --captions=... --out=/shared/..."
  shift
fi
for setting in IMAGE CLAIM; do
  if [ -z "${!setting:-}" ]; then
    echo "error: launch/gke/run.sh: $setting is not set; IMAGE=... CLAIM=... launch/gke/run.sh $example" >&2
    exit 2
  fi
done
for flag in "$@"; do
  case $flag in
    --shard=*)
      echo "error: launch/gke/run.sh: $flag: PODS says how many parts there are; leave the flag out" >&2
      exit 2
      ;;
    --*=*) ;;
    *)
      echo "error: launch/gke/run.sh: $flag: not understood; flags have the form --name=value" >&2
      exit 2
      ;;
  esac
done
if [ $# -eq 0 ]; then
  echo "error: launch/gke/run.sh: no flags; pass ${example#extract }" >&2
  exit 2
fi
flags=$(printf '%q ' "$@")
manifest=$(cat "$(dirname "$0")/$manifest")
fill() { manifest=${manifest//"\${$1}"/"$2"}; }
fill NAME "$name"
fill PODS "${PODS:-2}"
fill GPUS "${GPUS:-8}"
fill IMAGE "$IMAGE"
fill CLAIM "$CLAIM"
fill FLAGS "${flags% }"
if [ -n "$dry_run" ]; then
  printf '%s\n' "$manifest"
  exit 0
fi
if [ -n "$(kubectl get job "$name" --ignore-not-found -o 'jsonpath={.status.active}')" ]; then
  echo "error: launch/gke/run.sh: job $name is running; delete it first, or set NAME" >&2
  exit 2
fi
kubectl delete job "$name" --ignore-not-found # a finished one of that name; its run lies on the volume
printf '%s\n' "$manifest" | kubectl apply -f -
