#!/usr/bin/env bash
# Accuracy under "A Little Is Enough"; 27 runs in the quick size, half an hour on two cores.
#   experiments/alie.sh [quick|full] [options of detox-ps launch]
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" alie "$@"
