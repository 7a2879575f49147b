#!/usr/bin/env bash
# Installs DETOX into .venv and trains on digits under attack four times: mean, median, Multi-Krum, and DETOX with the median.
# The three Byzantine workers know all gradients and the rule, and choose what moves it the farthest.
# Finished runs are not made again; remove runs/demo for that.
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
. launch/install.sh
install_detox local,plot

# One rank per core besides the PS is enough here: a rank hosts several workers. The draws are secret elsewhere; here
# everybody is to see the same numbers.
train() {
  detox-ps launch -n 3 experiments/digits.toml --output runs/demo --progress lines --log-every 50 --eval-every 20 \
    --steps 200 --batch-size 2 --attack.kind opt_alie --attack.knowledge omniscient --secret-seed 7 "$@"
}

train --name mean       --r 1 --aggregator.name mean --aggregator.f 0
train --name median     --r 1
train --name multi_krum --r 1 --aggregator.name multi_krum
train --name detox

detox-ps report runs/demo/{mean,median,multi_krum,detox}-*/ --output runs/demo/report --plot runs/demo/demo.png
