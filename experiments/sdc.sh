#!/usr/bin/env bash
# Detectors of silent data corruption against the faults that GPUs show: recall by class, steps to a name, false
# accusations, overhead, scores. Finished cells are kept. See docs/sdc.md.
#   bash experiments/sdc.sh [quick|full] [--no-resume] [--jobs 2] [--configs FOLDER]
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
export OMP_NUM_THREADS=1
exec python -m experiments.sdc "${1:-quick}" "${@:2}"
