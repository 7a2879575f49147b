#!/usr/bin/env bash
# Seconds of a step over links of 100 Mb/s, 1 and 10 Gb/s, with digests first and with every copy in full, compressed or
# not. The PS and three hosts are network namespaces of this machine, with sshd: takes root, iproute2, openssh-server.
# A quarter of an hour; finished runs are kept.
#   experiments/network.sh [options of detox-ps launch]
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
export DETOX_NET=detox-network
network=launch/namespaces.sh hosts=$(mktemp)
trap 'rm -f "$hosts"; $network down' EXIT
"$network" up 4 > "$hosts"
"$network" sshd

train() { # RATE NAME OPTIONS...
  local rate=$1 name=$2
  shift 2
  "$network" run detox-ps launch --hostfile "$hosts" experiments/network.toml \
    --name "$name" --output "runs/network/$rate" --progress none "$@"
}

for rate in 100mbit 1gbit 10gbit; do
  for host in 1 2 3 4; do "$network" rate "$host" "$rate"; done
  train "$rate" "full" --vote full --compression.codec none "$@"
  train "$rate" "full, lz4" --vote full "$@"
  train "$rate" "digest" --compression.codec none "$@"
  train "$rate" "digest, lz4" "$@"
  train "$rate" "digest, bf16, lz4" --compression.kind bf16 "$@"
  detox-ps report runs/network/"$rate"/*/ --output "runs/reports/network-$rate"
done
python -m experiments.network_figure runs/network/{100mbit,1gbit,10gbit} --plot runs/reports/network.png
