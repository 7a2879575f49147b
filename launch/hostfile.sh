#!/usr/bin/env bash
# Prints a hostfile of the allocation that it runs in, one host per line, the parameter server's first: of Slurm (as on
# ParallelCluster) or PBS.
#   bash launch/hostfile.sh > hosts && detox-ps launch --hostfile hosts CONFIG.toml
set -euo pipefail
if [ -n "${SLURM_JOB_NODELIST:-}" ]; then
  scontrol show hostnames "$SLURM_JOB_NODELIST"
elif [ -n "${PBS_NODEFILE:-}" ]; then
  awk 'NF && !seen[$1]++ { print $1 }' "$PBS_NODEFILE" # it has a line per slot
else
  echo "hostfile.sh: neither SLURM_JOB_NODELIST nor PBS_NODEFILE is set: run it inside a job" >&2
  exit 2
fi
