#!/usr/bin/env bash
# Installs DETOX with what the tests need into .venv and passes the tests. Arguments go to pytest.
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
. launch/install.sh
install_detox local,notebook,plot,tcp,tensorboard,test
export OMP_NUM_THREADS=1
exec pytest "$@"
