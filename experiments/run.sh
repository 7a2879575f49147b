#!/usr/bin/env bash
# Makes the runs of experiments/grids/NAME-SIZE.toml that have not finished, one after the other, then a report of all.
#   experiments/run.sh NAME [quick|full|full-vgg] [options of detox-ps launch, such as --hostfile H]
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
name=${1:?which experiment? experiments/run.sh NAME [SIZE]} size=${2:-quick}
shift $(($# < 2 ? $# : 2))
if [ ! -f "experiments/grids/$name-$size.toml" ]; then
  echo "$name has no size $size; there are: $(cd experiments/grids && ls "$name"-*.toml | sed "s/^$name-//; s/.toml$//" | xargs)" >&2
  exit 2
fi
commands=$(detox-ps sweep "experiments/grids/$name-$size.toml" --todo "$@")
bash -e <(echo "$commands") # as an argument, the lines of a large grid are too long
detox-ps report "runs/$name-$size"/*/ --output "runs/reports/$name-$size"
