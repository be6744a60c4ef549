#!/usr/bin/env bash
# One run by several pods of a Kubernetes cluster, on GPUs (launch/gke/job.yaml) or on TPU slices of GKE (launch/gke/jobset.yaml):
#   IMAGE=... CLAIM=... launch/gke/run.sh --config=configs/X.py --workdir=/shared/runs/X [any flag of itm_jax.main]
#   TPU=v6e TOPOLOGY=4x4 IMAGE=... CLAIM=... launch/gke/run.sh --config=...      (the same flags)
# Region features of a folder of images, each pod a part of them (launch/gke/extract.yaml); with PODS=1 what is missing, and then the whole:
#   IMAGE=... CLAIM=... launch/gke/run.sh extract --images=/shared/DIR --captions=/shared/FILE --out=/shared/DIR
# Settings, as variables: IMAGE (of launch/docker), CLAIM (a ReadWriteMany volume claim, mounted at /shared), NAME (itm-jax),
# QUEUE (a LocalQueue of Kueue). For GPUs: PODS (2), GPUS of each pod (8). For TPUs: TPU (v5e, v5p, v6e, tpu7x) and TOPOLOGY of
# a slice (2x2x1, 4x4, ...), SLICES (1), CHIPS of each node (launch/gke/tpu.sh says which), SPOT=1 for spot nodes.
# --dry_run, anywhere, prints the manifest. Given again after a stop, the same command continues.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
fail() {
  echo "error: launch/gke/run.sh: $1" >&2
  exit 2
}
pods='' slices='' chips='' several='' dns='' annotations='' nodes='' tolerations='' # tpu_settings sets them
# shellcheck source=/dev/null
. "$here/tpu.sh"

dry_run=
words=()
for word in "$@"; do
  case $word in
    --dry_run | --dry-run) dry_run=1 ;;
    --dry*) fail "$word: not understood; say --dry_run" ;;
    *) words+=("$word") ;;
  esac
done
set -- ${words[@]+"${words[@]}"}
kind=job name=${NAME:-itm-jax} file=job.yaml example="--config=... --workdir=/shared/..."
if [ "${1:-}" = extract ]; then
  name=${NAME:-itm-jax-extract} file=extract.yaml example="extract --images=/shared/... --captions=... --out=/shared/..."
  shift
  [ -z "${TPU:-}" ] || fail "TPU=$TPU: extract runs on GPUs alone; unset TPU"
elif [ -n "${TPU:-}" ]; then
  kind=jobset file=jobset.yaml
fi
for setting in IMAGE CLAIM; do
  [ -n "${!setting:-}" ] || fail "$setting is not set; IMAGE=... CLAIM=... launch/gke/run.sh $example"
done
for flag in "$@"; do
  case $flag in
    --shard=*) fail "$flag: PODS says how many parts there are; leave the flag out" ;;
    --*=*) ;;
    *) fail "$flag: not understood; flags have the form --name=value" ;;
  esac
done
[ $# -gt 0 ] || fail "no flags; pass ${example#extract }"
# The names of pods are made from it, and must be names of hosts.
[[ $name =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
  fail "NAME=$name: must be at most 40 lower-case letters, digits and hyphens, the first one a letter, the last one no hyphen"
for setting in CLAIM QUEUE; do
  [[ ${!setting:-x} =~ ^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$ ]] || fail "$setting=${!setting}: not a name that Kubernetes allows"
done
[[ $IMAGE =~ ^[A-Za-z0-9][-A-Za-z0-9./:_@]*$ ]] || fail "IMAGE=$IMAGE: not the name of an image"
if [ "$kind" = jobset ]; then
  tpu_settings
else
  for setting in TOPOLOGY SLICES CHIPS SPOT; do
    [ -z "${!setting:-}" ] || fail "$setting=${!setting}: is for TPUs; set TPU=v6e or another type, or unset $setting"
  done
  pods=${PODS:-2}
  for setting in PODS GPUS; do
    [[ ${!setting:-1} =~ ^[1-9][0-9]*$ ]] || fail "$setting=${!setting}: must be a whole number from 1"
  done
fi

flags=$(printf '%q ' "$@")
manifest=$(cat "$here/$file")
fill() { manifest=${manifest//"\${$1}"/"$2"}; }
fill NAME "$name"
fill LABELS "${QUEUE:+kueue.x-k8s.io/queue-name: \"$QUEUE\"}"
fill PODS "$pods"
fill GPUS "${GPUS:-8}"
fill IMAGE "$IMAGE"
fill CLAIM "$CLAIM"
if [ "$kind" = jobset ]; then
  fill ANNOTATIONS "$annotations"
  fill SLICES "$slices"
  fill SEVERAL "$several"
  fill DNS "$dns"
  fill NODES "$nodes"
  fill TOLERATIONS "$tolerations"
  fill CHIPS "$chips"
fi
fill FLAGS "${flags% }" # last: flags may have braces of their own
if [ -n "$dry_run" ]; then
  printf '%s\n' "$manifest"
  exit 0
fi

# Its name where there is one, and its conditions that hold. One that waits in a queue has not finished either.
state=$(kubectl get "$kind" "$name" --ignore-not-found \
  -o 'jsonpath={.metadata.name}{range .status.conditions[?(@.status=="True")]}{" "}{.type}{end}') ||
  fail "kubectl cannot ask for a $kind; is the cluster reachable, and does it have $kind?"
if [ -n "$state" ]; then
  case " $state " in
    *" Complete "* | *" Completed "* | *" Failed "*) kubectl delete "$kind" "$name" ;; # its run lies on the volume
    *) fail "$kind $name is running or waits; delete it first, or set NAME" ;;
  esac
fi
printf '%s\n' "$manifest" | kubectl apply -f -
