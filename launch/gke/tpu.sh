# shellcheck shell=bash disable=SC2034 # launch/gke/run.sh uses what is set here
# What GKE calls a TPU type, and how its slices are made of nodes; launch/gke/run.sh reads this file.
#
# Source: core/system_characteristics.py of xpk 1.16.0, Google's launcher for GKE. For the slices of one node of v5e, also the
# table of TPU types in ai-infrastructure/tpu-training-on-gke of GoogleCloudPlatform/applied-ai-engineering-samples. That v6e has
# nodes of 8 chips for 2x4 (ct6e-standard-8t), as v5e has, stands in several public launchers.
#   type    label                  topologies                                            chips of a node
#   v5e     tpu-v5-lite-podslice   1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16                     1 for 1x1; 4; for 2x4 also 8
#   v6e     tpu-v6e-slice          the same                                              the same
#   v5p     tpu-v5p-slice          2x2x1 2x2x2 2x2x4 2x4x4, then multiples of 4,          4
#                                  none smaller than the one before, up to 140 cubes
#   tpu7x   tpu7x                  1x1x1, and those of v5p up to 144 cubes                1 for 1x1x1; 4
# A cube is 4x4x4 chips.

# Sets $label for TPU, and ends with an error where TOPOLOGY is not one of the type.
tpu_type() {
  local flat="1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16" small="2x2x1 2x2x2 2x2x4 2x4x4" named cubes=0 hint
  case $TPU in
    v5e) label=tpu-v5-lite-podslice named=$flat ;;
    v6e) label=tpu-v6e-slice named=$flat ;;
    v5p) label=tpu-v5p-slice named=$small cubes=140 ;;
    tpu7x) label=tpu7x named="1x1x1 $small" cubes=144 ;;
    *) fail "TPU=$TPU: say v5e, v5p, v6e or tpu7x" ;;
  esac
  hint="set one of $named"
  [ "$cubes" -eq 0 ] || hint+=", or three multiples of 4, none smaller than the one before, of at most $cubes cubes of 4x4x4"
  [ -n "${TOPOLOGY:-}" ] || fail "TOPOLOGY is not set; for TPU=$TPU $hint"
  case " $named " in *" $TOPOLOGY "*) return ;; esac
  if [[ $TOPOLOGY =~ ^([1-9][0-9]{0,2})x([1-9][0-9]{0,2})x([1-9][0-9]{0,2})$ ]]; then
    local a=${BASH_REMATCH[1]} b=${BASH_REMATCH[2]} c=${BASH_REMATCH[3]}
    if ((a % 4 == 0 && b % 4 == 0 && c % 4 == 0 && a <= b && b <= c && a * b * c <= cubes * 64)); then return; fi
  fi
  fail "TOPOLOGY=$TOPOLOGY: not one of TPU=$TPU; $hint"
}

# Sets what launch/gke/jobset.yaml needs from TPU, TOPOLOGY, SLICES, CHIPS and SPOT.
tpu_settings() {
  tpu_type
  local all=$((${TOPOLOGY//x/*})) usual setting
  usual=$((all < 4 ? all : 4))
  for setting in PODS GPUS; do
    [ -z "${!setting:-}" ] || fail "$setting=${!setting}: TPU and TOPOLOGY say how many nodes there are; unset $setting"
  done
  slices=${SLICES:-1} chips=${CHIPS:-$usual}
  [[ $slices =~ ^[1-9][0-9]{0,3}$ ]] || fail "SLICES=$slices: must be a whole number from 1"
  case $TOPOLOGY/$chips in
    */"$usual" | 2x4/8) ;;
    2x4/*) fail "CHIPS=$chips: a node of TPU=$TPU with TOPOLOGY=2x4 has 4 or 8 chips" ;;
    *) fail "CHIPS=$chips: a node of TPU=$TPU with TOPOLOGY=$TOPOLOGY has $usual" ;;
  esac
  pods=$((all / chips))
  if [ "$slices" -gt 1 ] && [ "$pods" -eq 1 ]; then
    fail "SLICES=$slices: GKE joins only slices of several nodes, and TOPOLOGY=$TOPOLOGY has one; take a larger TOPOLOGY"
  fi
  several=false dns=ClusterFirst annotations='' tolerations=''
  [ "$slices" -eq 1 ] || several=true dns=ClusterFirstWithHostNet
  # The nodes of a slice of several nodes are a node pool; the pods of a Job must lie in one, and alone.
  [ "$pods" -eq 1 ] || annotations="alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool"
  nodes="cloud.google.com/gke-tpu-accelerator: $label, cloud.google.com/gke-tpu-topology: $TOPOLOGY"
  if [ -n "${SPOT:-}" ]; then
    nodes+=', cloud.google.com/gke-spot: "true"'
    tolerations='{key: cloud.google.com/gke-spot, operator: Equal, value: "true", effect: NoSchedule}'
  fi
}
