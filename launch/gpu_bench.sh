#!/usr/bin/env bash
# Steps, encoding, scores, ranks and their growth on one GPU, without network:  launch/gpu_bench.sh [OUT [PART...]]
# The parts are train_afa, train_cpfean, encode, score, rank, input and growth; all where none is named.
# PYTHON names the interpreter that has itm_jax and a JAX for the GPU. Each figure goes to OUT/NAME.json; a part that
# takes longer than its limit is stopped and named, the others run on. On a CPU only with ITM_JAX_BENCH_ON_CPU=1.
# Programs that were compiled once are kept in OUT/xla, so that a part that was stopped is quicker the next time.
set -uo pipefail
case ${1:-} in -*)
  echo "error: launch/gpu_bench.sh: $1: not understood; say launch/gpu_bench.sh [OUT [PART...]]" >&2
  exit 2
  ;;
esac
parts=" ${*:2} "
for part in $parts; do
  case $part in train_afa | train_cpfean | encode | score | rank | input | growth) ;; *)
    echo "error: launch/gpu_bench.sh: $part: no such part" >&2
    exit 2
    ;;
  esac
done
mkdir -p "${1:-runs/gpu_bench}"
out=$(cd "${1:-runs/gpu_bench}" && pwd)
export JAX_COMPILATION_CACHE_DIR=$out/xla
python=$(command -v "${PYTHON:-python3}") || { echo "no interpreter ${PYTHON:-python3}"; exit 2; }
case $python in /*) ;; *) python=$PWD/$python ;; esac
cd "$(dirname "$0")/.." || exit 2
export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0} # the limits are measured on one
export XLA_PYTHON_CLIENT_PREALLOCATE=false             # leaves memory to PyTorch
backend=$("$python" -c 'import itm_jax.training.loop, jax; print(jax.default_backend())') || {
  echo "$python has no working itm_jax; PYTHON=.venv/bin/python after pip install -e '.[cuda]'"
  exit 2
}
if [ "$backend" = cpu ] && [ -z "${ITM_JAX_BENCH_ON_CPU:-}" ]; then
  echo "JAX sees no GPU here; install '.[cuda]'"
  exit 2
fi
failed=()
began=$SECONDS

measure() {
  local name=$1 limit=$2
  shift 2
  case $parts in "  " | *" $name "*) ;; *) return ;; esac
  printf '\n== %s (%d s)\n' "$name" "$((SECONDS - began))"
  timeout "$limit" "$python" -m itm_jax.bench "$@" --out="$out/$name.json" 2>&1 | tee "$out/$name.txt" || failed+=("$name")
}

against=()
if "$python" -c 'import torch' 2> /dev/null; then against=(--against=torch); else echo "no PyTorch here: no ratios to it"; fi
"$python" -c 'import jax; print(jax.__version__, jax.devices())' | tee "$out/device.txt"

step=(train --config=configs/bench_f30k.py --config.data.bank=device --repeats=20)
measure train_afa 240 "${step[@]}" "${against[@]}"
measure train_cpfean 240 "${step[@]}" --config.model.name=cpfean "${against[@]}"
measure encode 180 encode --config=configs/bench_f30k.py --images=1000 --captions=5000 --repeats=3
measure score 240 score --images=5000 --captions=25000 --tile=1000 --repeats=2
measure rank 30 rank --images=5000 --captions=25000
measure input 30 input --config=configs/quickstart.py --config.data.bank=host --repeats=3
measure growth 400 growth --config=configs/bench_f30k.py --out_dir="$out" --batch_sizes=32,64,128,256 \
  --galleries=500,1000,2000,4000 --tiles=128,256,512,1024 --repeats=5

printf '\n%d s in all; written: %s\n' "$((SECONDS - began))" "$out"
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
