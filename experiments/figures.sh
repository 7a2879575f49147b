#!/usr/bin/env bash
# Draws the pictures of the docs again, from the CSV files in docs/figures and docs/sdc. A report's figures.csv has the same
# columns: copy it there as NAME.csv after new runs.
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
exec python -m experiments.figures "$@"
