#!/usr/bin/env bash
# Bad votes over p, q and r: simulated, against the exact distribution and the paper's bounds. Finished cells are kept.
#   bash experiments/theory.sh [quick|full] [--no-resume]
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
exec python -m experiments.theory "${1:-quick}" "${@:2}"
