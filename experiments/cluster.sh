#!/usr/bin/env bash
# A step on the paper's 46 hosts over links of 100 Mb/s, by method: seconds, bytes on the links, CPU of the busiest
# server. Seven more hosts are further servers. The hosts are network namespaces of this machine: takes root, iproute2,
# a tenth of a GB for each, and an hour. Prints a row a step. At a slower RATE, such as 10mbit, few cores are
# enough, so that the network decides.
#   [HOSTS=53] [RATE=100mbit] experiments/cluster.sh [options of experiments.cluster]
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
export DETOX_NET=${DETOX_NET:-detox-cluster}
network=launch/namespaces.sh hosts=$(mktemp) n=${HOSTS:-53} rate=${RATE:-100mbit}
arp=/proc/sys/net/ipv4/neigh/default/gc_thresh # one table for all namespaces together: hosts x hosts entries are too many
before=("$(cat ${arp}1)" "$(cat ${arp}2)" "$(cat ${arp}3)")
restore() {
  set +e # whatever fails, the rest is put back
  for i in 1 2 3; do echo "${before[i - 1]}" > "$arp$i"; done
  rm -f "$hosts"
  "$network" down
}
trap restore EXIT
entries=$((n * n > 8192 ? n * n : 8192))
for i in 3 2 1; do echo "$((entries * i))" > "$arp$i"; done
"$network" up "$n" > "$hosts"
for host in $(seq "$n"); do "$network" rate "$host" "$rate"; done

"$network" run python -m experiments.cluster -n "$n" --hostfile "$hosts" "$@"
