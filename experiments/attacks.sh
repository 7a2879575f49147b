#!/usr/bin/env bash
# Every attack against every defence: a heat map, and the worst attack of each.
#   experiments/attacks.sh quick                 one process, without messages; hours of one core, and it can be cut short
#   experiments/attacks.sh digits|full [options of detox-ps launch]     real runs: see run.sh
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
[ "${1:-quick}" = quick ] || exec bash experiments/run.sh attacks "$@"
PATH=$PWD/.venv/bin:$PATH
grids=$(printf 'experiments/grids/attacks-%s.toml ' alie-quick quick split-quick)
exec python -m experiments.simulation $grids
