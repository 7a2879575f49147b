"""Whether a change of the code leaves the bits of training as they are: real jobs with fixed seeds, and their digests.

    python -m benchmarks.equal_bits --write before.json    # before the change
    python -m benchmarks.equal_bits --check before.json    # after it, on the same machine

A line per job: the digest of the final weights, and one of the ledger's lines. Digests of two machines need not agree.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

RANKS = 4
COMMON = {
    "task": "digits", "model": "softmax", "p": 15, "q": 2, "r": 3, "batch_size": 8, "steps": 24, "secret_seed": 5,
    "eval_every": 24, "log_every": 24, "checkpoint_every": 8, "aggregator": {"name": "median"},
    "quarantine": {"policy": "never"},
}  # fmt: skip
_WORST = {"placement": "worst", "knowledge": "omniscient"}
JOBS: dict[str, dict[str, object]] = {
    "digest": {},
    "full": {"vote": "full"},
    "tolerance": {"vote": "tolerance", "q": 1},
    "vanilla": {"r": 1, "q": 2},
    "draco": {"r": 5, "q": 2, "aggregator": {"name": "draco"}},
    "sign": {"p": 27, "compression": {"kind": "sign"}, "aggregator": {"name": "d-signsgd"}, "optimizer": {"lr": 0.001}},
    "bf16": {"compression": {"kind": "bf16"}, "optimizer": {"momentum": 0.9}},
    "d-multi-krum": {"p": 27, "q": 1, "aggregator": {"name": "d-multi-krum"}},
    "fixed groups": {"groups": "fixed", "attack": {"placement": "spread", "kind": "gaussian"}},
    "quarantine by majority": {"attack": {"placement": "fixed"}, "quarantine": {"policy": "majority", "after": 2}},
    "quarantine by proof": {"attack": {"placement": "fixed"}, "quarantine": {"policy": "recompute", "after": 2}},
    "recompute ties": {"q": 4, "attack": {"kind": "gaussian"}, "on_tie": "recompute"},
    "classes": {"groups_within": "class"},
    "faults": {"q": 0, "fault": {"worker": [1, 5, 9], "kind": ["bit_flip", "nan", "equivocate"]}},
    "alie": {"q": 4, "attack": {"kind": "alie", "placement": "worst"}},
    "min_max, omniscient": {"q": 4, "attack": {"kind": "min_max", **_WORST}},
    "label shards": {"data": {"split": "label"}, "optimizer": {"name": "Adam", "lr": 0.01}},
    "dirichlet shards": {"data": {"split": "dirichlet"}, "groups": "random", "optimizer": {"schedule": "cosine"}},
    "worker momentum": {"groups": "random", "worker_momentum": 0.9, "attack": {"placement": "spread"}},
    "share compute": {"share_compute": True, "model": "mlp"},
    "resumed": {"attack": {"placement": "fixed"}, "quarantine": {"policy": "recompute", "after": 2}, "steps": 200},
}


def run(name: str, folder: Path) -> dict[str, str]:
    """Digests of one job; "resumed" is told to end on the way, and goes on."""
    import tomli_w

    config = folder / "run.toml"
    config.write_text(tomli_w.dumps(COMMON | JOBS[name] | {"name": "run", "output": str(folder / "runs")}))
    line = [sys.executable, "-m", "detox.launch", "launch", "-n", str(RANKS), str(config)]
    job = subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if name == "resumed":
        while job.poll() is None and not any(len(p.read_bytes()) > 5000 for p in folder.glob("runs/*/metrics.jsonl")):
            time.sleep(0.01)
        job.send_signal(signal.SIGINT)
        job.wait()
        job = subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    text, _ = job.communicate()
    if job.returncode:
        sys.exit(f"{name}: exit status {job.returncode}\n{text}")
    (run_folder,) = folder.glob("runs/run-*")
    summary = json.loads((run_folder / "summary.json").read_text())
    # In one step, lines come in the order of arrival.
    ledger = sorted(_as_before((run_folder / "ledger.jsonl").read_text().splitlines()))
    return {"weights": summary["weights_digest"][:16], "ledger": blake3("\n".join(ledger).encode()).hexdigest()[:16]}


def _as_before(lines: list[str]) -> Iterator[str]:
    """The ledger's lines without what earlier versions did not write."""
    for line in map(json.loads, lines):
        if line["kind"] not in ("examined", "passed_over", "caught_up"):
            yield json.dumps({name: value for name, value in line.items() if name not in ("file", "others")})


def main() -> None:
    """Runs all jobs, and writes or compares their digests."""
    parser = ArgumentParser("benchmarks.equal_bits", description=__doc__)
    parser.add_argument("--write", type=Path, help="file for the digests")
    parser.add_argument("--check", type=Path, help="file of digests to compare with")
    parser.add_argument("--only", nargs="+", choices=list(JOBS), help="jobs, if not all")
    options = parser.parse_args()
    before = json.loads(options.check.read_text()) if options.check else {}
    found, differ = {}, 0
    for name in options.only or JOBS:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = run(name, Path(folder))
        parts = [part for part in found[name] if name in before and before[name][part] != found[name][part]]
        differ += bool(parts)
        verdict = f"OTHER {' and '.join(parts)}" if parts else "equal" if name in before else ""
        print(f"{name:24} weights {found[name]['weights']}  ledger {found[name]['ledger']}  {verdict}", flush=True)
    if options.write:
        options.write.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
