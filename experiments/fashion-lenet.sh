#!/usr/bin/env bash
# Fashion-MNIST, LeNet-5, 45 workers in groups of 3, 5 of them Byzantine (reversed gradient, random placement):
# DETOX under attack, the same again (the weights' digests have to be equal), without attack, with every copy sent
# in full, and the plain mean. Arguments go to every run. A quarter of an hour on two cores; finished runs are kept.
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
out=runs/fashion-lenet

train() {
  local name=$1
  shift
  detox-ps launch -n 3 experiments/fashion-lenet.toml --name "$name" --output "$out" --secret-seed 1 --progress lines "$@"
}

train detox "$@"
train again "$@"
train honest --q 0 "$@"
train full --vote full "$@"
train mean --r 1 --aggregator.name mean --aggregator.f 0 "$@"

detox-ps report "$out"/{detox,again,honest,full,mean}-*/ --plot "$out/fashion-lenet.png"
