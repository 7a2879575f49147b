#!/usr/bin/env bash
# Checks and measures DETOX on one machine with a GPU, in ten minutes at most; prints Markdown, the machine first.
#   bash benchmarks/gpu.sh [--device cuda:1] | tee gpu.md
# The exit status is 0 where all checks pass, 1 where one fails or time is up, 3 where there is no GPU. Without a GPU,
# --device cpu tries the script itself.
set -euo pipefail
CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
end=$((SECONDS + 600)) status=0

part() { # title, command...
  local title=$1 left=$((end - SECONDS))
  shift
  printf '\n## %s\n\n' "$title"
  if [ "$left" -le 0 ] || ! timeout "$left" "$@"; then
    printf '\n%s: FAILED, or not done in time\n' "$title"
    status=1
  fi
}

echo "# DETOX on a GPU"
echo
python -m benchmarks.gpu machine "$@"
part "Two processes compute equal bits" python -m benchmarks.gpu bits "$@"
part "A job with PS and workers on the device" python -m benchmarks.gpu job "$@"
part "Votes and gradients on their way" python -m benchmarks.gpu transfer "$@"
part "The tests that need a GPU" python -m pytest -q -k "gpu or cuda" \
  tests/tasks/test_devices.py tests/tasks/test_flat.py tests/tasks/test_packing.py tests/launch/test_environment.py tests/aggregators/test_contract.py
part "Aggregators on the device" python -m benchmarks.gpu aggregators "$@"
printf '\n%d s in all\n' "$SECONDS"
exit "$status"
