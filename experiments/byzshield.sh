#!/usr/bin/env bash
# ByzShield's experiment: the share of bad votes against q, then accuracy under the optimal placement.
#   experiments/byzshield.sh [quick|full] [options of detox-ps launch]
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
python -m experiments.byzshield
exec bash experiments/run.sh byzshield "$@"
