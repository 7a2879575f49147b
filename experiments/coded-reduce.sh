#!/usr/bin/env bash
# CodedReduce's tree of ranks beside gradient coding, DETOX's votes and the plain mean: seconds per step over links of
# 100 Mb/s, with and without slow ranks. The PS and 42 workers are network namespaces of this machine: takes root and
# iproute2, and about five minutes. Prints a table.
#   experiments/coded-reduce.sh [options of experiments.coded_reduce]
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
export DETOX_NET=detox-coded
network=launch/namespaces.sh hosts=$(mktemp)
trap 'rm -f "$hosts"; $network down' EXIT
"$network" up 43 > "$hosts"
for host in $(seq 43); do "$network" rate "$host" 100mbit; done

"$network" run python -m experiments.coded_reduce --hostfile "$hosts" "$@"
