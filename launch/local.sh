#!/usr/bin/env bash
# Several processes on this machine train one run together:
#   launch/local.sh N --config=configs/X.py --workdir=DIR [any flag of itm_jax.main]
# With NVIDIA GPUs each process has its share of them (N must divide their number), else a CPU device each. PYTHON names
# the interpreter (default: that of the active environment, else .venv of this checkout, else python3), PORT the port of
# the first process. --dry_run, anywhere, prints what each process would run. Run again after any stop, the same command
# continues.
set -euo pipefail

dry_run=
words=()
for word in "$@"; do
  case $word in
    --dry_run | --dry-run) dry_run=1 ;;
    --dry*)
      echo "error: launch/local.sh: $word: not understood; say --dry_run" >&2
      exit 2
      ;;
    *) words+=("$word") ;;
  esac
done
set -- ${words[@]+"${words[@]}"}
count=${1:-}
case $count in
  '' | *[!0-9]* | 0)
    echo "error: launch/local.sh: say how many processes first, launch/local.sh 2 --config=... --workdir=..." >&2
    exit 2
    ;;
esac
shift
for flag in "$@"; do
  case $flag in
    --*=*) ;;
    *)
      echo "error: launch/local.sh: $flag: not understood; flags have the form --name=value" >&2
      exit 2
      ;;
  esac
done
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-}
if [ -z "$python" ]; then
  python=python3
  if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$root/.venv/bin/python" ]; then python=$root/.venv/bin/python; fi
fi
port=${PORT:-12355}
# The GPUs: those that CUDA_VISIBLE_DEVICES names, else all; none with JAX_PLATFORMS=cpu.
devices=()
if [ "${JAX_PLATFORMS:-}" != cpu ]; then
  if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
    IFS=, read -ra devices <<< "$CUDA_VISIBLE_DEVICES"
  elif command -v nvidia-smi > /dev/null 2>&1; then
    mapfile -t devices < <(nvidia-smi -L 2> /dev/null | sed -n 's/^GPU \([0-9]*\):.*/\1/p')
  fi
fi
gpus=${#devices[@]}
if [ "$gpus" -gt 0 ] && [ $((gpus % count)) -ne 0 ]; then
  echo "error: launch/local.sh: $gpus GPUs cannot be shared equally by $count processes" >&2
  exit 2
fi

# The variables of process $1.
variables() {
  echo "JAX_COORDINATOR_ADDRESS=localhost:$port JAX_NUM_PROCESSES=$count JAX_PROCESS_ID=$1"
  if [ "$gpus" -gt 0 ]; then
    local each=$((gpus / count))
    local own=("${devices[@]:$1*each:each}")
    echo "CUDA_VISIBLE_DEVICES=$(IFS=,; echo "${own[*]}")"
  else
    echo "JAX_PLATFORMS=cpu"
  fi
}

if [ -n "$dry_run" ]; then
  for ((index = 0; index < count; index++)); do
    printf '%s %s -m itm_jax.main' "$(variables "$index" | tr '\n' ' ' | sed 's/ $//')" "$python"
    [ $# -eq 0 ] || printf ' %q' "$@"
    printf '\n'
  done
  exit 0
fi

if ! "$python" -c 'import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, ("itm_jax", "jax", "grain"))))'; then
  echo "error: launch/local.sh: $python has no itm_jax with its libraries; make .venv as README.md says, or set PYTHON=DIR/bin/python" >&2
  exit 2
fi

pids=()
# shellcheck disable=SC2317,SC2329 # called by the trap
stop() { kill -TERM "${pids[@]}" 2> /dev/null || true; }
trap stop TERM INT
for ((index = 0; index < count; index++)); do
  # shellcheck disable=SC2046 # one word for each variable
  env $(variables "$index") "$python" -m itm_jax.main "$@" &
  pids+=($!)
done

# The first code that is not 0; when one process fails the others end within a minute by themselves. A signal interrupts
# wait, so that each is waited for until it is gone.
code=0
for pid in "${pids[@]}"; do
  while :; do
    one=0
    wait "$pid" || one=$?
    kill -0 "$pid" 2> /dev/null || break
  done
  [ "$code" -ne 0 ] || code=$one
done
exit "$code"
