#!/usr/bin/env bash
# Mean estimation on synthetic data: error against d and q, with and without DETOX. Finished cells are kept.
#   bash experiments/mean-estimation.sh [quick|full] [--no-resume]
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
exec python -m experiments.mean_estimation "${1:-quick}" "${@:2}"
