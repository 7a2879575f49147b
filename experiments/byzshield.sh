#!/usr/bin/env bash
# ByzShield's experiment: the share of bad votes against q, then accuracy under the optimal placement.
#   experiments/byzshield.sh [quick|full] [options of detox-ps launch]
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
size=${1:-quick}
python -m experiments.byzshield
bash experiments/run.sh byzshield "$@"
if [ "$size" = quick ]; then bash experiments/run.sh byzshield-alie "$@"; fi
detox-ps report runs/byzshield*-"$size"/*/ --output "runs/reports/byzshield-$size"
