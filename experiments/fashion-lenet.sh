#!/usr/bin/env bash
# Fashion-MNIST, LeNet-5, 45 workers in groups of 3, 5 of them Byzantine (reversed gradient, random placement):
# DETOX under attack, the same again (the weights' digests have to be equal), without attack, with every copy sent
# in full, and the plain mean. Arguments go to every run. A quarter of an hour on two cores; finished runs are kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
out=runs/fashion-lenet

train() {
  local folder=$1
  shift
  detox-ps launch -n 3 experiments/fashion-lenet.toml --output "$out/$folder" --secret-seed 1 --progress lines "$@"
}

train attacked "$@"
train again "$@"
train honest --name honest --q 0 "$@"
train full --name full --vote full "$@"
train mean --name mean --r 1 --aggregator.name mean --aggregator.f 0 "$@"

detox-ps report "$out"/attacked/* "$out"/again/* "$out"/honest/* "$out"/full/* "$out"/mean/* --plot "$out/fashion-lenet.png"
