#!/usr/bin/env bash
# Checks a config of AWS ParallelCluster against the schema that comes with it; no account is needed. ParallelCluster is
# installed into an environment of its own, for it wants other versions of what DETOX uses.
#   launch/aws/validate.sh [FILE.yaml]
set -euo pipefail
CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/../.."
file=${1:-launch/aws/cluster.yaml}
[ -x .venv-aws/bin/python ] || "${PYTHON:-python3}" -m venv .venv-aws
.venv-aws/bin/python -m pip install --quiet --disable-pip-version-check "aws-parallelcluster==3.16.*"
AWS_DEFAULT_REGION=us-east-1 .venv-aws/bin/python - "$file" <<'PYTHON'
import sys

import yaml
from marshmallow import ValidationError
from pcluster.schemas.cluster_schema import ClusterSchema

with open(sys.argv[1]) as file:
    content = yaml.safe_load(file)
try:
    config = ClusterSchema(cluster_name="detox").load(content)
except ValidationError as error:
    sys.exit(f"{sys.argv[1]}: {error}")
hosts = sum(compute.max_count for queue in config.scheduling.queues for compute in queue.compute_resources)
print(f"{sys.argv[1]}: a valid cluster of up to {hosts} hosts")
PYTHON
